variable "name" {
  type        = string
  description = "What the names of the roles and of the profiles begin with: `seb`, or `seb-...`, by which the detection knows them."
  default     = "seb"

  validation {
    condition     = can(regex("^seb(-[a-z0-9-]{1,16})?$", var.name))
    error_message = "The name is `seb`, or `seb-` and at most 16 lower-case letters, digits and dashes: the detection knows roles by it."
  }
}

variable "account_id" {
  type        = string
  description = "The account in which the roles are."

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

variable "exchange" {
  type        = string
  description = "How the broker comes to sessions (docs/aws.md): `per-mutation`, `pooled` or `web-identity`."
  default     = "per-mutation"

  validation {
    condition     = contains(["per-mutation", "pooled", "web-identity"], var.exchange)
    error_message = "The exchange is `per-mutation`, `pooled` or `web-identity`."
  }
}

variable "trust_domain" {
  type        = string
  description = "The SPIFFE trust domain whose execution identities lead to sessions."

  validation {
    condition     = can(regex("^[a-z0-9._-]{1,200}$", var.trust_domain))
    error_message = "A trust domain is a name such as `example.org`, without `spiffe://`: lower-case letters, digits, dots, dashes and underscores."
  }
}

variable "trust_anchor_arn" {
  type        = string
  description = "The trust anchor, for `per-mutation` and `pooled`. No other anchor of the account leads to the roles."
  default     = null

  validation {
    condition     = (var.exchange == "web-identity") == (var.trust_anchor_arn == null)
    error_message = "The exchanges `per-mutation` and `pooled` need `trust_anchor_arn`; `web-identity` has none."
  }

  validation {
    condition     = var.trust_anchor_arn == null || can(regex("^arn:${var.partition}:rolesanywhere:[a-z0-9-]+:${var.account_id}:trust-anchor/[A-Za-z0-9-]+$", var.trust_anchor_arn))
    error_message = "Expected `arn:PARTITION:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID`, in the account of the roles."
  }
}

variable "broker_spiffe_id" {
  type        = string
  description = "The broker's own SPIFFE ID, for `pooled`."
  default     = null

  validation {
    condition     = (var.exchange == "pooled") == (var.broker_spiffe_id != null)
    error_message = "The exchange `pooled`, and no other, needs `broker_spiffe_id`."
  }

  validation {
    condition     = var.broker_spiffe_id == null || can(regex("^spiffe://${replace(var.trust_domain, ".", "\\.")}(/[A-Za-z0-9._-]+)+$", var.broker_spiffe_id)) && length(coalesce(var.broker_spiffe_id, "-")) <= 256
    error_message = "Expected `spiffe://TRUST DOMAIN/PATH` in `trust_domain`, of at most 256 characters, because AWS drops a longer tag."
  }
}

variable "oidc" {
  type = object({
    issuer   = string
    audience = string
  })
  description = "The issuer of the JWT-SVIDs, an identity provider of the account, and the audience of the tokens; for `web-identity`."
  default     = null

  validation {
    condition     = (var.exchange == "web-identity") == (var.oidc != null)
    error_message = "The exchange `web-identity`, and no other, needs `oidc`."
  }

  validation {
    condition     = var.oidc == null || can(regex("^https://[a-z0-9.-]+(/[A-Za-z0-9._/-]*[A-Za-z0-9])?$", var.oidc.issuer))
    error_message = "The issuer is an https URL without query and without a slash at its end, as in the claim `iss`."
  }

  validation {
    condition     = var.oidc == null || can(regex("^[^*?$]{1,255}$", var.oidc.audience))
    error_message = "The audience has 1 to 255 characters, without `*`, `?` and `$`."
  }
}

variable "targets" {
  type = map(object({
    actions   = set(string)
    resources = set(string)
  }))
  description = "What executions may do at the most, by target: each has an execution role of its own. A session is narrower: its policy names the certified call."

  validation {
    condition     = length(var.targets) >= 1 && alltrue([for target, _ in var.targets : can(regex("^[a-z0-9][a-z0-9-]{0,42}$", target))])
    error_message = "There is at least one target, and its name has at most 43 lower-case letters, digits and dashes."
  }

  validation {
    condition     = alltrue(flatten([for target in var.targets : [length(target.actions) >= 1, [for action in target.actions : can(regex("^[a-z0-9-]+:[A-Za-z][A-Za-z0-9*]*$", action))]]]))
    error_message = "Each target has actions of the form `service:Action`; a wildcard stands after a letter at the earliest: not `*`, not `s3:*`."
  }

  validation {
    condition     = alltrue(flatten([for target in var.targets : [for action in target.actions : !can(regex("(?i)^(sts|organizations|account|rolesanywhere|sso|cloudtrail):", action))]]))
    error_message = "No target has actions of sts, organizations, account, rolesanywhere, sso or cloudtrail: they lead to other sessions, or change the boundary itself."
  }

  validation {
    condition     = alltrue(flatten([for target in var.targets : [length(target.resources) >= 1, [for arn in target.resources : can(regex("^arn:${var.partition}:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:.+$", arn)) && !can(regex("role/seb/|policy/seb/|[$]", arn))]]]))
    error_message = "Each target has resources, which are ARNs of the partition: not `*`, no variables, and not the roles and policies of the broker."
  }
}

variable "permission_boundary_arn" {
  type        = string
  description = "The permission boundary of the execution roles, as module `permission-boundary` has it."

  validation {
    condition     = can(regex("^arn:${var.partition}:iam::${var.account_id}:policy/seb/.+$", var.permission_boundary_arn))
    error_message = "Expected `arn:PARTITION:iam::ACCOUNT:policy/seb/NAME`: a policy below `/seb/`, which the guardrails protect."
  }
}

variable "readers" {
  type = object({
    trust_anchor_arn = string
    spiffe_ids       = map(string)
    actions          = optional(set(string), [])
  })
  description = "Who reads the account by a role of its own, SPIFFE IDs by name, such as `{ broker = ..., authority = ... }`; the trust anchor below which their own SVIDs are; and the actions by which contracts are read. Those that settle what came of a mutation are always there."
  default     = null

  validation {
    condition     = var.readers == null || can(regex("^arn:${var.partition}:rolesanywhere:[a-z0-9-]+:${var.account_id}:trust-anchor/[A-Za-z0-9-]+$", var.readers.trust_anchor_arn))
    error_message = "The trust anchor of `readers` is `arn:PARTITION:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID`, in the account of the roles."
  }

  validation {
    condition     = var.readers == null || alltrue([for name, _ in try(var.readers.spiffe_ids, {}) : can(regex("^[a-z0-9-]{1,32}$", name))]) && try(length(var.readers.spiffe_ids), 0) >= 1
    error_message = "There is at least one reader, and its name has at most 32 lower-case letters, digits and dashes."
  }

  validation {
    condition     = var.readers == null || alltrue([for _, id in try(var.readers.spiffe_ids, {}) : can(regex("^spiffe://${replace(var.trust_domain, ".", "\\.")}(/[A-Za-z0-9._-]+)+$", id)) && !startswith(id, "spiffe://${var.trust_domain}/seb/execution/") && length(id) <= 256])
    error_message = "A reader is `spiffe://TRUST DOMAIN/PATH` in `trust_domain`, of at most 256 characters, and no execution identity."
  }

  validation {
    condition     = var.readers == null || alltrue([for action in try(tolist(var.readers.actions), []) : can(regex(local.read, action)) && !can(regex(local.leads_on, action))])
    error_message = "Readers have actions of the form `service:Action` that begin with `Describe`, `Get`, `List` or `Search`, without wildcards, and none that hands out a secret or a session. These are not such: ${join(", ", [for action in try(tolist(var.readers.actions), []) : action if !can(regex(local.read, action)) || can(regex(local.leads_on, action))])}."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of the roles and of the profiles."
  default     = {}

  validation {
    condition     = !anytrue([for key, _ in var.tags : startswith(lower(key), "seb:") || startswith(lower(key), "x509")])
    error_message = "Tags that begin with `seb:` or `x509` belong to sessions: a role that has one would have it in every session."
  }
}
