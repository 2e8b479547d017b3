variable "name" {
  type        = string
  description = "Name of the role, of its rule and of its alarm; it begins with `seb-`, by which the guardrails protect them."
  default     = "seb-break-glass"

  validation {
    condition     = can(regex("^seb-[a-z0-9-]{1,36}$", var.name))
    error_message = "The name is `seb-` and at most 36 lower-case letters, digits and dashes: the guardrails protect no other."
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

variable "region" {
  type        = string
  description = "The region in which this is."

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region is a name such as `eu-west-1`."
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

variable "operator_arns" {
  type        = set(string)
  description = "IAM users who may break the glass. Users, because the second factor and the name of the person are asked of AWS: sessions of roles say neither."

  validation {
    condition     = length(var.operator_arns) >= 2 && length(var.operator_arns) <= 10 && alltrue([for arn in var.operator_arns : can(regex("^arn:${var.partition}:iam::[0-9]{12}:user/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "Two to ten ARNs of IAM users, without wildcards: one alone could be unreachable."
  }
}

variable "window" {
  type = object({
    from  = string
    until = string
  })
  description = "When the glass is open: RFC 3339, UTC, at most 12 hours. Without it the role is closed: to open it is a change of this configuration, which people approve."
  default     = null

  validation {
    condition     = var.window == null || alltrue([for at in [try(var.window.from, ""), try(var.window.until, "")] : can(regex("^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", at)) && can(timeadd(at, "0s"))])
    error_message = "Both ends of the window are times such as `2026-11-21T20:00:00Z`."
  }

  validation {
    condition     = var.window == null || try(timecmp(var.window.from, var.window.until) < 0 && timecmp(var.window.until, timeadd(var.window.from, "12h")) <= 0, true)
    error_message = "The window begins before it ends, and is at most 12 hours long."
  }
}

variable "max_mfa_age" {
  type        = number
  description = "How many seconds ago the second factor was shown, at the most."
  default     = 900

  validation {
    condition     = var.max_mfa_age >= 60 && var.max_mfa_age <= 3600 && floor(var.max_mfa_age) == var.max_mfa_age
    error_message = "Whole seconds, 60 to 3600."
  }
}

variable "allowed" {
  type = object({
    actions   = set(string)
    resources = set(string)
  })
  description = "What can be done when the glass is broken."

  validation {
    condition     = length(var.allowed.actions) >= 1 && alltrue([for action in var.allowed.actions : can(regex("^[a-z0-9-]+:[A-Za-z*][A-Za-z0-9*]*$", action)) && !can(regex("^(sts|organizations|account|rolesanywhere|sso|cloudtrail):", action))])
    error_message = "There is at least one action of the form `service:Action`, none of them of sts, organizations, account, rolesanywhere, sso or cloudtrail."
  }

  validation {
    condition     = length(var.allowed.resources) >= 1 && alltrue([for arn in var.allowed.resources : arn == "*" || can(regex("^arn:[a-z*-]+:[a-z0-9-]+:[a-z0-9*-]*:[0-9*]*:.+$", arn)) && !can(regex("[$]", arn))])
    error_message = "There is at least one resource: an ARN, or `*`."
  }
}

variable "alarm_topic_arn" {
  type        = string
  description = "SNS topic that is told of every attempt. Its policy lets `events.amazonaws.com` publish."

  validation {
    condition     = can(regex("^arn:${var.partition}:sns:${var.region}:[0-9]{12}:[A-Za-z0-9_-]+$", var.alarm_topic_arn))
    error_message = "Expected `arn:PARTITION:sns:REGION:ACCOUNT:NAME`, in the region of the rule."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of what is made."
  default     = {}
}
