variable "name" {
  type        = string
  description = "What the names of rules, queues and alarms begin with; it begins with `seb-`, by which the guardrails protect them."
  default     = "seb-detection"

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

variable "protected_events" {
  type        = map(set(string))
  description = "What is watched: names of CloudTrail events by their source, `{ \"s3.amazonaws.com\" = [\"PutBucketPolicy\"] }`. They should be the events of the protected actions."

  validation {
    condition     = length(var.protected_events) >= 1 && alltrue([for source, names in var.protected_events : can(regex("^[a-z0-9.-]+\\.amazonaws\\.com$", source)) && length(names) >= 1])
    error_message = "There is at least one source such as `s3.amazonaws.com`, each with at least one event."
  }

  validation {
    condition     = alltrue(flatten([for names in var.protected_events : [for name in names : can(regex("^[A-Z][A-Za-z0-9]+$", name))]]))
    error_message = "Events have names such as `PutBucketPolicy`, without service and wildcards."
  }
}

variable "web_identity" {
  type        = bool
  description = "Sessions of the exchange `web-identity` are the broker's, too."
  default     = false
}

variable "consumer_role_arns" {
  type        = set(string)
  description = "Roles that may take events from the queue: whoever compares them with the records."
  default     = []

  validation {
    condition     = alltrue([for arn in var.consumer_role_arns : can(regex("^arn:${var.partition}:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "ARNs of roles, without wildcards."
  }
}

variable "alarm_topic_arn" {
  type        = string
  description = "SNS topic that is told when there is anything in the queue."

  validation {
    condition     = can(regex("^arn:${var.partition}:sns:${var.region}:[0-9]{12}:[A-Za-z0-9_-]+$", var.alarm_topic_arn))
    error_message = "Expected `arn:PARTITION:sns:REGION:ACCOUNT:NAME`, in the region of the queue."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of what is made."
  default     = {}
}
