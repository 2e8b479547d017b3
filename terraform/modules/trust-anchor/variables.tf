variable "name" {
  type        = string
  description = "Name of the trust anchor."
  default     = "seb"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.name))
    error_message = "The name has 1 to 64 letters, digits, dashes and underscores."
  }
}

variable "certificates" {
  type        = string
  description = "PEM of the CA below which execution identities are minted: one certificate, or two while the next one takes over. Not the root of the trust domain: an anchor admits whatever is below it. For roles that read: the CA of the trust domain."
  default     = null

  validation {
    condition     = var.certificates == null || contains([1, 2], length(regexall("-----BEGIN CERTIFICATE-----", coalesce(var.certificates, "-"))))
    error_message = "An anchor holds one certificate, or two while the next one takes over: retire the old one first."
  }

  validation {
    condition     = !can(regex("PRIVATE KEY", var.certificates))
    error_message = "There is a private key among the certificates. It must not reach the state: treat it as lost, and make a new CA."
  }

  validation {
    condition     = (var.certificates == null) != (var.private_ca_arn == null)
    error_message = "Give either `certificates` or `private_ca_arn`."
  }
}

variable "private_ca_arn" {
  type        = string
  description = "ARN of a CA of AWS Private CA, in place of `certificates`."
  default     = null

  validation {
    condition     = var.private_ca_arn == null || can(regex("^arn:[a-z-]+:acm-pca:[a-z0-9-]+:[0-9]{12}:certificate-authority/.+$", var.private_ca_arn))
    error_message = "Expected `arn:PARTITION:acm-pca:REGION:ACCOUNT:certificate-authority/ID`."
  }
}

variable "expiry_notice_days" {
  type        = number
  description = "How many days before its end AWS gives notice of an expiring CA certificate. To change it makes another anchor, with another ARN: the provider cannot change notices."
  default     = 45

  validation {
    condition     = var.expiry_notice_days >= 1 && var.expiry_notice_days <= 360 && floor(var.expiry_notice_days) == var.expiry_notice_days
    error_message = "Whole days, 1 to 360."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of the anchor."
  default     = {}
}
