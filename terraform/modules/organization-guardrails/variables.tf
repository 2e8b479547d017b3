variable "name" {
  type        = string
  description = "What the names of the policies begin with."
  default     = "seb"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name))
    error_message = "The name has at most 40 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "partition" {
  type        = string
  description = "The partition of the account."
  default     = "aws"

  validation {
    condition     = contains(["aws", "aws-cn", "aws-us-gov"], var.partition)
    error_message = "The partition is `aws`, `aws-cn` or `aws-us-gov`."
  }
}

variable "target_ids" {
  type        = set(string)
  description = "To what the policies are attached: roots, organizational units, accounts. Known when Terraform plans, not made by the same `apply`."

  validation {
    condition     = length(var.target_ids) >= 1 && alltrue([for id in var.target_ids : can(regex("^(r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|[0-9]{12})$", id))])
    error_message = "At least one of: a root `r-...`, an organizational unit `ou-...-...`, an account of 12 digits."
  }
}

variable "protected" {
  type = object({
    actions   = set(string)
    resources = set(string)
  })
  description = "What nobody but the broker does: mutating actions, and the resources on which. Resources may have wildcards, `*` protects all."

  validation {
    condition     = length(var.protected.actions) >= 1 && alltrue([for action in var.protected.actions : can(regex("^[a-z0-9-]+:[A-Za-z*][A-Za-z0-9*]*$", action))])
    error_message = "There is at least one action, of the form `service:Action`, with wildcards in the part after the colon only."
  }

  validation {
    condition     = !anytrue([for action in var.protected.actions : can(regex("^[a-z0-9-]+:(\\*|(Get|List|Describe|Head|BatchGet|Query|Scan)[A-Za-z*]*)$", action))])
    error_message = "Reading is not protected here: neither `service:*` nor `Get`, `List`, `Describe` and their like. Name what changes something."
  }

  validation {
    condition     = length(var.protected.resources) >= 1 && alltrue([for arn in var.protected.resources : arn == "*" || can(regex("^arn:[a-z*-]+:[a-z0-9-]+:[a-z0-9*-]*:[0-9*]*:.+$", arn)) && !can(regex("[$]", arn))])
    error_message = "There is at least one resource: an ARN, with wildcards where needed but not in the service, or `*`."
  }
}

variable "administrator_role_arns" {
  type        = set(string)
  description = "Roles that may change the broker's roles, anchors, policies, trails and rules: the one that applies these modules. Above the guardrails, so as few as possible, and with people's approval in front."

  validation {
    condition     = length(var.administrator_role_arns) >= 1 && alltrue([for arn in var.administrator_role_arns : can(regex("^arn:${var.partition}:iam::([0-9]{12}|\\*):role/[A-Za-z0-9+=,.@_/-]+$", arn)) && !can(regex("role/seb/(execution|federated|bootstrap|break-glass|reader)/", arn))])
    error_message = "There is at least one administrator: the ARN of a role, complete but for the account, which may be `*`, and none of the broker's own roles."
  }
}

variable "trust_anchor_arns" {
  type        = set(string)
  description = "The trust anchors that lead to bootstrap roles: no other does. Left out, the resource control policy lets none in."
  default     = []

  validation {
    condition     = alltrue([for arn in var.trust_anchor_arns : can(regex("^arn:${var.partition}:rolesanywhere:[a-z0-9-]+:[0-9]{12}:trust-anchor/[A-Za-z0-9-]+$", arn))])
    error_message = "Expected `arn:PARTITION:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID`."
  }
}

variable "reader_trust_anchor_arns" {
  type        = set(string)
  description = "The trust anchors that lead to the roles that read: no other does. Left out, the resource control policy lets none in."
  default     = []

  validation {
    condition     = alltrue([for arn in var.reader_trust_anchor_arns : can(regex("^arn:${var.partition}:rolesanywhere:[a-z0-9-]+:[0-9]{12}:trust-anchor/[A-Za-z0-9-]+$", arn))])
    error_message = "Expected the anchors of readers as `arn:PARTITION:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID`."
  }
}

variable "web_identity" {
  type        = bool
  description = "Also admit execution roles of the exchange `web-identity`, whose sessions have no source identity."
  default     = false
}

variable "break_glass" {
  type        = bool
  description = "Also admit the roles of module `break-glass`."
  default     = false
}

variable "resource_control" {
  type        = bool
  description = "Make the resource control policy, too. It needs the policy type to be enabled in the organization."
  default     = true
}

variable "tags" {
  type        = map(string)
  description = "Tags of what is made."
  default     = {}
}
