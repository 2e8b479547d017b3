# Patterns and policies, from the inputs alone: no resource and no provider is asked, so that tests evaluate the very text
# that is deployed.
#
# What it does not find:
# - A session that looks like the broker's and that no record explains. Who takes from the queue compares `sourceIdentity` and
#   `requestID` with the records; these rules only see what cannot be the broker's.
# - Data events (objects of S3, items of DynamoDB) unless a trail selects them, other regions (one module for each), and what no
#   trail logs. `iam:PassRole` is no event. Global services (IAM, STS at its global endpoint) have theirs in us-east-1.
# - Anything at once: CloudTrail takes minutes, and promises nothing.

locals {
  paths   = concat(["execution"], var.web_identity ? ["federated"] : [])
  queue   = "arn:${var.partition}:sqs:${var.region}:${var.account_id}:${var.name}"
  rules   = { for rule in ["controls", "mutations"] : rule => "arn:${var.partition}:events:${var.region}:${var.account_id}:rule/${var.name}-${rule}" }
  sources = sort(keys(var.protected_events))

  # Of nobody whom the broker minted: no session of a role, of another role, or without source identity.
  not_minted = concat(
    [
      { userIdentity = { sessionContext = { sessionIssuer = { arn = [{ exists = false }] } } } },
      { userIdentity = { sessionContext = { sessionIssuer = { arn = [{ "anything-but" = { wildcard = [for path in local.paths : "arn:${var.partition}:iam::*:role/seb/${path}/*"] } }] } } } },
    ],
    [for present in [false] : { userIdentity = { sessionContext = { sourceIdentity = [{ exists = present }] } } } if !var.web_identity],
  )

  # Nobody but AWS puts events of such a source on the bus: what somebody else makes up is not heard.
  mutations = {
    "detail-type" = ["AWS API Call via CloudTrail"]
    source        = [{ prefix = "aws." }]
    detail = {
      eventSource = local.sources
      eventName   = sort(distinct(flatten([for names in var.protected_events : tolist(names)])))
      "$or"       = local.not_minted
    }
  }

  # Changes of the boundary itself, by whomever: few, and each is known beforehand.
  controls = {
    "detail-type" = ["AWS API Call via CloudTrail"]
    source        = [{ prefix = "aws." }]
    detail = {
      "$or" = [
        { eventSource = ["rolesanywhere.amazonaws.com"], readOnly = [false], eventName = [{ "anything-but" = ["CreateSession"] }] },
        { eventSource = ["iam.amazonaws.com"], readOnly = [false], requestParameters = { roleName = [{ prefix = "seb-" }] } },
        { eventSource = ["iam.amazonaws.com"], readOnly = [false], requestParameters = { policyArn = [{ wildcard = "arn:*:policy/seb/*" }] } },
        { eventSource = ["iam.amazonaws.com"], eventName = [{ wildcard = "*OpenIDConnectProvider*" }, { wildcard = "*SAMLProvider*" }], readOnly = [false] },
        { eventSource = ["organizations.amazonaws.com"], eventName = [{ suffix = "Policy" }, { suffix = "PolicyType" }], readOnly = [false] },
        { eventSource = ["cloudtrail.amazonaws.com"], eventName = ["DeleteTrail", "PutEventSelectors", "StopLogging", "UpdateTrail"] },
        { eventSource = ["sts.amazonaws.com"], requestParameters = { roleArn = [{ wildcard = "arn:*:role/seb/break-glass/*" }] } },
        { eventSource = ["sts.amazonaws.com"], eventName = ["AssumeRoot"] },
      ]
    }
  }

  queue_policy = {
    Version = "2012-10-17"
    Statement = concat(
      [
        { Sid = "Rules", Effect = "Allow", Principal = { Service = "events.amazonaws.com" }, Action = "sqs:SendMessage", Resource = local.queue, Condition = { ArnEquals = { "aws:SourceArn" = values(local.rules) } } },
        { Sid = "Tls", Effect = "Deny", Principal = "*", Action = "sqs:*", Resource = local.queue, Condition = { Bool = { "aws:SecureTransport" = "false" } } },
      ],
      [
        for arns in [sort(var.consumer_role_arns)] :
        { Sid = "Consumers", Effect = "Allow", Principal = { AWS = arns }, Action = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"], Resource = local.queue } if length(arns) > 0
      ],
    )
  }

  policies = { mutations_pattern = jsonencode(local.mutations), controls_pattern = jsonencode(local.controls), queue = jsonencode(local.queue_policy) }

  # EventBridge takes patterns of 2048 characters.
  too_large = [for name in ["mutations_pattern", "controls_pattern"] : "${name} (${length(local.policies[name])})" if length(local.policies[name]) > 2048]
}

output "policies" {
  description = "The patterns of the rules and the policy of the queue as they are deployed, JSON by name."
  value       = local.policies

  precondition {
    condition     = length(local.too_large) == 0
    error_message = "EventBridge takes patterns of 2048 characters, and these have more: ${join(", ", local.too_large)}. Use the module once for each group of services."
  }
}
