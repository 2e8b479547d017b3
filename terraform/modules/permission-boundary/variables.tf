variable "name" {
  type        = string
  description = "Name of the managed policy, below `/seb/`."
  default     = "seb-execution-boundary"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name))
    error_message = "The name has at most 40 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "account_id" {
  type        = string
  description = "The account in which this is."

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account has 12 digits."
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

variable "services" {
  type        = set(string)
  description = "IAM prefixes of the services in which executions change something: `s3`, `dynamodb`."

  validation {
    condition     = length(var.services) >= 1 && alltrue([for service in var.services : can(regex("^[a-z0-9-]+$", service))])
    error_message = "There is at least one service, by its IAM prefix, such as `s3`: no wildcards."
  }

  validation {
    condition     = length(setintersection(var.services, ["iam", "sts", "organizations", "account", "rolesanywhere", "sso", "cloudtrail"])) == 0
    error_message = "Not iam (see `iam_actions`), sts, organizations, account, rolesanywhere, sso or cloudtrail: they lead to other sessions, or change the boundary itself."
  }
}

variable "iam_actions" {
  type        = set(string)
  description = "Actions of IAM that executions may take, on what is not the broker's: for incident response, `iam:UpdateAccessKey`."
  default     = []

  validation {
    condition     = alltrue([for action in var.iam_actions : can(regex("^iam:[A-Z][A-Za-z0-9]+$", action)) && action != "iam:PassRole"])
    error_message = "Actions of the form `iam:Action`, without wildcards. For `iam:PassRole` there is `passable_role_arns`."
  }
}

variable "passable_role_arns" {
  type        = set(string)
  description = "Roles that executions may pass on. What such a role does later has no source identity and no certificate."
  default     = []

  validation {
    condition     = alltrue([for arn in var.passable_role_arns : can(regex("^arn:${var.partition}:iam::${var.account_id}:role/[A-Za-z0-9+=,.@_/-]+$", arn)) && !can(regex("role/seb/", arn))])
    error_message = "ARNs of roles of the account, without wildcards, and none of the broker's."
  }
}

variable "require_source_identity" {
  type        = bool
  description = "Deny every session without source identity. False only for roles of the exchange `web-identity`, which has none."
  default     = true
}

variable "tags" {
  type        = map(string)
  description = "Tags of what is made."
  default     = {}
}
