# Every policy of this module, from the inputs alone: no resource and no provider is asked, so that tests evaluate the very
# text that is deployed.

locals {
  arns         = "arn:${var.partition}:iam::${var.account_id}"
  by_anchor    = var.exchange != "web-identity"
  bootstrap    = "${local.arns}:role/seb/bootstrap/${var.name}-bootstrap"
  path         = local.by_anchor ? "/seb/execution/" : "/seb/federated/"
  executions   = "${local.arns}:role${local.path}${var.name}-*"
  issuer       = var.oidc == null ? "" : trimprefix(var.oidc.issuer, "https://")
  assume       = ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]
  certified_cn = "$${aws:PrincipalTag/x509Subject/CN}"
  requested    = "$${aws:RequestTag/seb:mutation}"

  # Who comes in: a certificate of this anchor and no other, whose URI is an execution identity's (or the broker's own) and
  # whose subject is the same mutation: source identity and tags cannot name two.
  bootstrap_trust = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ByAnchor"
      Effect    = "Allow"
      Principal = { Service = "rolesanywhere.amazonaws.com" }
      Action    = local.assume
      Condition = {
        ArnEquals = { "aws:SourceArn" = var.trust_anchor_arn }
        StringEquals = {
          "aws:PrincipalTag/x509SAN/URI" = var.exchange == "pooled" ? var.broker_spiffe_id : "spiffe://${var.trust_domain}/seb/execution/${local.certified_cn}"
        }
      }
    }]
  }

  # The first session only leads to the execution roles. The denials are explicit, because a resource policy that grants to
  # the session's ARN overrides what is only not allowed. Also the session policy of the profile: it holds if somebody adds
  # to the role.
  #
  # What it does not bind: that the second session has a session policy. No condition key says so; whoever holds the first
  # session can have all that the execution role has. The broker keeps it in memory, for one request.
  bootstrap_permissions = {
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = local.assume, Resource = local.executions },
      { Effect = "Deny", NotAction = local.assume, Resource = "*" },
      { Effect = "Deny", Action = "*", NotResource = local.executions },
    ]
  }

  # The second session bears the name of the mutation: per mutation the one that the certificate was minted for, pooled the
  # one that the broker says. The source identity is set already, and stays.
  pooled = var.exchange == "pooled"
  same_mutation = {
    "sts:RoleSessionName"         = local.pooled ? [local.requested] : [local.certified_cn]
    "aws:RequestTag/seb:mutation" = local.pooled ? null : [local.certified_cn]
    # With and without the prefix: AWS's own documents have both.
    "aws:SourceIdentity" = local.pooled ? null : ["CN=${local.certified_cn}", local.certified_cn]
  }
  execution_trust_by_role = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OneMutation"
        Effect    = "Allow"
        Principal = { AWS = local.bootstrap }
        Action    = "sts:AssumeRole"
        Condition = {
          Null         = { "aws:SourceIdentity" = "false" }
          StringEquals = { for key, value in local.same_mutation : key => value if value != null }
        }
      },
      {
        Sid       = "ItsTags"
        Effect    = "Allow"
        Principal = { AWS = local.bootstrap }
        Action    = ["sts:SetSourceIdentity", "sts:TagSession"]
      },
    ]
  }

  # What it does not bind: by token (`web-identity`), AWS sees no mutation but in the subject; there is no source identity and
  # no tag, and whoever has the token chooses the session policy, or none. So these roles have a path of their own, which the
  # guardrails admit only if they are told to.
  execution_trust_by_token = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ByToken"
      Effect    = "Allow"
      Principal = { Federated = "${local.arns}:oidc-provider/${local.issuer}" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = { "${local.issuer}:aud" = try(var.oidc.audience, "") }
        StringLike   = { "${local.issuer}:sub" = "spiffe://${var.trust_domain}/seb/execution/*" }
      }
    }]
  }

  # The outer bound of each session of the role.
  execution_permissions = {
    for name, target in var.targets : name => {
      Version = "2012-10-17"
      Statement = [
        { Sid = "Ceiling", Effect = "Allow", Action = sort(target.actions), Resource = sort(target.resources) },
      ]
    }
  }

  # Reading: who, and what. Besides what contracts are read by, what the broker asks to settle a mutation of which nobody knows
  # the end (docs/aws.md).
  spiffe_ids = try({ for name, id in var.readers.spiffe_ids : name => id }, {})
  evidence   = ["cloudformation:GetResourceRequestStatus", "ec2:DescribeHosts", "ec2:DescribeInstances", "eks:DescribeCluster", "secretsmanager:ListSecretVersionIds"]
  read       = "^[a-z0-9-]+:(Describe|Get|List|Search)[A-Z][A-Za-z0-9]*$"
  leads_on   = "^(sts|sso):|^lambda:Get(Function|LayerVersion)$|^kms:GetParametersForImport$|:Get[A-Za-z]*(Credentials|CredentialReport|Password|PasswordData|SecretValue|Token)$"
  reads      = sort(distinct(concat(local.evidence, try(tolist(var.readers.actions), []))))

  # A reader is one process, by its own certificate: its URI is named to the letter.
  reader_trust = {
    for name, id in local.spiffe_ids : name => {
      Version = "2012-10-17"
      Statement = [{
        Sid       = "ByAnchor"
        Effect    = "Allow"
        Principal = { Service = "rolesanywhere.amazonaws.com" }
        Action    = local.assume
        Condition = {
          ArnEquals    = { "aws:SourceArn" = var.readers.trust_anchor_arn }
          StringEquals = { "aws:PrincipalTag/x509SAN/URI" = id }
        }
      }]
    }
  }

  # The reads, and nothing else whatever is attached to the role or granted to its sessions: the denial is explicit. Policy of
  # the role, and its permission boundary.
  #
  # What it does not bind: which resources a reader sees. It reads all that its actions can read, in every region: leave out
  # actions by which data can be read in bulk.
  reader = {
    Version = "2012-10-17"
    Statement = [
      { Sid = "Reads", Effect = "Allow", Action = local.reads, Resource = "*" },
      { Sid = "NothingElse", Effect = "Deny", NotAction = local.reads, Resource = "*" },
    ]
  }

  by_name = {
    bootstrap_trust       = jsonencode(local.bootstrap_trust)
    bootstrap_permissions = jsonencode(local.bootstrap_permissions)
    execution_trust       = local.by_anchor ? jsonencode(local.execution_trust_by_role) : jsonencode(local.execution_trust_by_token)
  }
  policies = merge(
    { for name, text in local.by_name : name => text if local.by_anchor || name == "execution_trust" },
    { for name, policy in local.execution_permissions : "execution_permissions/${name}" => jsonencode(policy) },
    { for name, policy in local.reader_trust : "reader_trust/${name}" => jsonencode(policy) },
    { for name, text in { reader = jsonencode(local.reader) } : name => text if var.readers != null },
  )

  # Characters that AWS takes: a trust policy, the session policy of a profile, a managed policy, the inline policies of a role.
  policy_limits = { bootstrap_trust = 2048, execution_trust = 2048, bootstrap_permissions = 2048, reader = 6144 }
  too_large     = [for name, text in local.policies : "${name} (${length(text)})" if length(text) > lookup(local.policy_limits, name, 10240)]
}

output "policies" {
  description = "Every policy as it is deployed, JSON by name."
  value       = local.policies

  precondition {
    condition     = length(local.too_large) == 0
    error_message = "AWS does not take policies of this length: ${join(", ", local.too_large)}. Use fewer or shorter actions and ARNs, or more targets."
  }
}
