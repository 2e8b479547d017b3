# The policies of this module, from the inputs alone: no resource and no provider is asked, so that tests evaluate the very
# text that is deployed.
#
# What they do not bind:
# - Service control policies: the management account, service-linked roles, service principals, principals of other
#   organizations. A call of `AssumeRoleWithWebIdentity` or by IAM Roles Anywhere has no principal that one could bind.
# - The resource control policy: resources of the management account, service-linked roles, and services that it does not
#   know (output `bound_by_scp_only`): IAM, EC2, Lambda, RDS, EKS and CloudFormation among them.
# - Both: what an AWS service does by a role that was passed to it (a task, a function, a stack) counts as that role, and is
#   denied as everybody is. What it does by a service-linked role is not.
# - `sts:AssumeRoot` from the management account, the root of the management account, and the administrators named here.

locals {
  role     = "arn:${var.partition}:iam::*:role/seb"
  pathways = { executions = "${local.role}/execution/*", federated = "${local.role}/federated/*", bootstrap = "${local.role}/bootstrap/*", break_glass = "${local.role}/break-glass/*", reader = "${local.role}/reader/*" }

  # Sessions of these have a source identity, or they are denied.
  identified = concat([local.pathways.executions], var.break_glass ? [local.pathways.break_glass] : [])
  admitted   = concat(local.identified, var.web_identity ? [local.pathways.federated] : [])
  admins     = { ArnNotLike = { "aws:PrincipalArn" = sort(var.administrator_role_arns) } }
  actions    = sort(var.protected.actions)
  resources  = contains(var.protected.resources, "*") ? ["*"] : sort(var.protected.resources)

  no_source_identity = merge(
    { Null = { "aws:SourceIdentity" = "true" } },
    { for key, value in { ArnNotLike = { "aws:PrincipalArn" = [local.pathways.federated] } } : key => value if var.web_identity },
  )

  # A request without `aws:PrincipalArn` is denied: a negated comparison holds where there is no value.
  mutations = {
    Version = "2012-10-17"
    Statement = [
      { Sid = "NotMinted", Effect = "Deny", Action = local.actions, Resource = local.resources, Condition = { ArnNotLike = { "aws:PrincipalArn" = local.admitted } } },
      { Sid = "NoSourceIdentity", Effect = "Deny", Action = local.actions, Resource = local.resources, Condition = local.no_source_identity },
    ]
  }

  # The guardrails, anchors, profiles, attribute mappings, roles, tags and trails: whoever could change them could be the
  # broker.
  controls = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Anchors"
        Effect = "Deny"
        Action = [
          "rolesanywhere:Create*", "rolesanywhere:Delete*", "rolesanywhere:Disable*", "rolesanywhere:Enable*", "rolesanywhere:Import*",
          "rolesanywhere:Put*", "rolesanywhere:Reset*", "rolesanywhere:TagResource", "rolesanywhere:UntagResource", "rolesanywhere:Update*",
        ]
        Resource  = "*"
        Condition = local.admins
      },
      {
        Sid       = "Roles"
        Effect    = "Deny"
        Action    = ["iam:Add*", "iam:Attach*", "iam:Create*", "iam:Delete*", "iam:Detach*", "iam:PassRole", "iam:Put*", "iam:Remove*", "iam:Set*", "iam:Tag*", "iam:Untag*", "iam:Update*"]
        Resource  = ["arn:${var.partition}:iam::*:policy/seb/*", "${local.role}/*"]
        Condition = local.admins
      },
      {
        Sid    = "Issuers"
        Effect = "Deny"
        Action = [
          "iam:AddClientIDToOpenIDConnectProvider", "iam:CreateOpenIDConnectProvider", "iam:CreateSAMLProvider", "iam:DeleteOpenIDConnectProvider",
          "iam:DeleteSAMLProvider", "iam:RemoveClientIDFromOpenIDConnectProvider", "iam:TagOpenIDConnectProvider", "iam:UntagOpenIDConnectProvider",
          "iam:UpdateOpenIDConnectProviderThumbprint", "iam:UpdateSAMLProvider",
        ]
        Resource  = "*"
        Condition = local.admins
      },
      {
        Sid       = "Trails"
        Effect    = "Deny"
        Action    = ["cloudtrail:Delete*", "cloudtrail:Put*", "cloudtrail:StopEventDataStoreIngestion", "cloudtrail:StopLogging", "cloudtrail:Update*"]
        Resource  = "*"
        Condition = local.admins
      },
      {
        Sid    = "Detection"
        Effect = "Deny"
        Action = [
          "cloudwatch:DeleteAlarms", "cloudwatch:DisableAlarmActions", "cloudwatch:PutMetricAlarm", "cloudwatch:SetAlarmState",
          "events:DeleteRule", "events:DisableRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets",
          "sqs:AddPermission", "sqs:DeleteQueue", "sqs:PurgeQueue", "sqs:RemovePermission", "sqs:SetQueueAttributes",
        ]
        Resource  = ["arn:${var.partition}:cloudwatch:*:*:alarm:seb-*", "arn:${var.partition}:events:*:*:rule/seb-*", "arn:${var.partition}:sqs:*:*:seb-*"]
        Condition = local.admins
      },
      { Sid = "Leave", Effect = "Deny", Action = ["account:CloseAccount", "organizations:LeaveOrganization"], Resource = "*" },
    ]
  }

  # Who comes to a session of the broker's roles, and to its tags.
  sessions = {
    Version = "2012-10-17"
    Statement = concat(
      [
        { Sid = "Executions", Effect = "Deny", Action = ["sts:AssumeRole"], Resource = local.pathways.executions, Condition = { ArnNotLike = { "aws:PrincipalArn" = local.pathways.bootstrap } } },
        { Sid = "Bootstrap", Effect = "Deny", Action = ["sts:AssumeRole"], Resource = [local.pathways.bootstrap, local.pathways.federated, local.pathways.reader] },
        # Tags by which sessions are recognized: of a session, and of a role, which its sessions inherit.
        {
          Sid      = "SessionTags"
          Effect   = "Deny"
          Action   = ["sts:TagSession"]
          Resource = "*"
          Condition = {
            "ForAnyValue:StringLike" = { "aws:TagKeys" = ["seb:*", "x509*"] }
            ArnNotLike               = { "aws:PrincipalArn" = local.pathways.bootstrap }
          }
        },
        {
          Sid       = "RoleTags"
          Effect    = "Deny"
          Action    = ["iam:CreateRole", "iam:CreateUser", "iam:TagRole", "iam:TagUser", "iam:UntagRole", "iam:UntagUser"]
          Resource  = "*"
          Condition = merge(local.admins, { "ForAnyValue:StringLike" = { "aws:TagKeys" = ["seb:*", "x509*"] } })
        },
      ],
      [
        # Where it is closed for good it is never assumed; else the second factor is asked for here, too: sessions do not say
        # whether there was one.
        merge(
          { Sid = "BreakGlass", Effect = "Deny", Action = ["sts:AssumeRole"], Resource = local.pathways.break_glass },
          { for key, value in { Condition = { BoolIfExists = { "aws:MultiFactorAuthPresent" = "false" } } } : key => value if var.break_glass },
        ),
      ],
    )
  }

  # Services that resource control policies know, of those in which the broker makes calls.
  resource_controlled = ["autoscaling", "dynamodb", "ecr", "events", "kms", "logs", "s3", "secretsmanager", "sqs"]
  rcp_actions         = [for action in local.actions : action if contains(local.resource_controlled, split(":", action)[0])]
  by_services         = { BoolIfExists = { "aws:PrincipalIsAWSService" = "false" } }

  resources_policy = {
    Version = "2012-10-17"
    Statement = concat(
      [
        # The caller is the service, so no service control policy binds it: a second anchor of the account ends here.
        merge(
          { Sid = "Anchors", Effect = "Deny", Principal = "*", Action = ["sts:AssumeRole"], Resource = local.pathways.bootstrap },
          { for key, value in { Condition = { ArnNotLike = { "aws:SourceArn" = sort(var.trust_anchor_arns) } } } : key => value if length(var.trust_anchor_arns) > 0 },
        ),
        merge(
          { Sid = "Readers", Effect = "Deny", Principal = "*", Action = ["sts:AssumeRole"], Resource = local.pathways.reader },
          { for key, value in { Condition = { ArnNotLike = { "aws:SourceArn" = sort(var.reader_trust_anchor_arns) } } } : key => value if length(var.reader_trust_anchor_arns) > 0 },
        ),
        { Sid = "Executions", Effect = "Deny", Principal = "*", Action = ["sts:AssumeRole"], Resource = local.pathways.executions, Condition = { ArnNotLike = { "aws:PrincipalArn" = local.pathways.bootstrap } } },
        { Sid = "Tokens", Effect = "Deny", Principal = "*", Action = ["sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity"], Resource = concat([local.pathways.bootstrap, local.pathways.break_glass, local.pathways.executions, local.pathways.reader], var.web_identity ? [] : [local.pathways.federated]) },
      ],
      [
        for sid, condition in { NotMinted = { ArnNotLike = { "aws:PrincipalArn" = local.admitted } }, NoSourceIdentity = local.no_source_identity } :
        { Sid = sid, Effect = "Deny", Principal = "*", Action = local.rcp_actions, Resource = local.resources, Condition = merge(local.by_services, condition) } if length(local.rcp_actions) > 0
      ],
    )
  }

  policies = merge(
    { mutations = jsonencode(local.mutations), controls = jsonencode(local.controls), sessions = jsonencode(local.sessions) },
    { for name, text in { resources = jsonencode(local.resources_policy) } : name => text if var.resource_control },
  )
  too_large = [for name, text in local.policies : "${name} (${length(text)})" if length(text) > 5120]
}

output "policies" {
  description = "Every policy as it is deployed, JSON by name: `mutations`, `controls` and `sessions` are service control policies, `resources` is a resource control policy."
  value       = local.policies

  precondition {
    condition     = length(local.too_large) == 0
    error_message = "AWS takes 5120 characters, and these have more: ${join(", ", local.too_large)}. Use fewer or shorter actions and resources, or the module once for each group of accounts."
  }
}

output "bound_by_scp_only" {
  description = "Protected actions of services that resource control policies do not know: no policy of the organization binds principals of other organizations there."
  value       = [for action in local.actions : action if !var.resource_control || !contains(local.resource_controlled, split(":", action)[0])]
}
