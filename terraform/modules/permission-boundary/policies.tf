# The policy of this module, from the inputs alone: no resource and no provider is asked, so that tests evaluate the very
# text that is deployed.
#
# What it does not bind:
# - It only takes away, and what it does not allow is denied implicitly: a resource policy that grants to the ARN of the
#   session overrides that. What must hold is denied explicitly here, or in the session policy of each mutation.
# - Service-linked roles, and services that act by a role of their own.

locals {
  iam = "arn:${var.partition}:iam::${var.account_id}"
  own = ["${local.iam}:policy/seb/*", "${local.iam}:role/seb/*"]

  boundary = {
    Version = "2012-10-17"
    Statement = concat(
      [{ Sid = "Services", Effect = "Allow", Action = concat([for service in sort(var.services) : "${service}:*"], sort(var.iam_actions)), Resource = "*" }],
      [
        for arns in [sort(var.passable_role_arns)] :
        { Sid = "Passable", Effect = "Allow", Action = ["iam:PassRole"], Resource = arns } if length(arns) > 0
      ],
      # A session of the broker leads to no other, and does not touch what bounds it.
      [
        { Sid = "OtherSessions", Effect = "Deny", Action = ["sts:*", "sso:*", "account:*", "organizations:*", "rolesanywhere:*"], Resource = "*" },
        { Sid = "OwnRoles", Effect = "Deny", Action = ["iam:*"], Resource = local.own },
        { Sid = "OwnTrail", Effect = "Deny", Action = ["cloudtrail:*"], Resource = "*" },
        merge(
          { Sid = "PassedRoles", Effect = "Deny", Action = ["iam:PassRole"] },
          { for key, arns in { Resource = ["*"] } : key => arns if length(var.passable_role_arns) == 0 },
          { for key, arns in { NotResource = sort(var.passable_role_arns) } : key => arns if length(arns) > 0 },
        ),
      ],
      [
        for absent in ["true"] :
        { Sid = "NoSourceIdentity", Effect = "Deny", Action = ["*"], Resource = "*", Condition = { Null = { "aws:SourceIdentity" = absent } } } if var.require_source_identity
      ],
    )
  }

  policies = { boundary = jsonencode(local.boundary) }
}

output "policies" {
  description = "The policy as it is deployed, JSON by name."
  value       = local.policies

  precondition {
    condition     = length(local.policies.boundary) <= 6144
    error_message = "The boundary has ${length(local.policies.boundary)} characters, and AWS takes 6144: use fewer services, actions and roles."
  }
}
