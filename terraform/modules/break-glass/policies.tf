# The policies and the pattern of this module, from the inputs alone: no resource and no provider is asked, so that tests
# evaluate the very text that is deployed.
#
# What it does not bind:
# - A session does not say whether its person showed a second factor, only the call that makes it does: the trust policy
#   asks, and nothing later can.
# - What is done through the open glass. There is no certificate and no record: CloudTrail, under the source identity of the
#   person, is all there is.
# - Who may change this configuration opens the glass: approval by a second person is the work of whoever reviews it.
# - The alarm hears what CloudTrail has in its region: calls at the global endpoint of STS are in us-east-1.

locals {
  role   = "arn:${var.partition}:iam::${var.account_id}:role/seb/break-glass/${var.name}"
  open   = var.window != null
  from   = try(var.window.from, "")
  until  = try(var.window.until, "")
  person = "$${aws:username}"

  trust = {
    Version = "2012-10-17"
    Statement = concat(
      [for closed in [!local.open] : { Sid = "Closed", Effect = "Deny", Principal = { AWS = "*" }, Action = ["sts:AssumeRole"] } if closed],
      [for opened in [local.open] : {
        Sid       = "Open"
        Effect    = "Allow"
        Principal = { AWS = sort(var.operator_arns) }
        Action    = ["sts:AssumeRole", "sts:SetSourceIdentity"]
        Condition = {
          Bool                  = { "aws:MultiFactorAuthPresent" = "true" }
          NumericLessThanEquals = { "aws:MultiFactorAuthAge" = tostring(var.max_mfa_age) }
          DateGreaterThanEquals = { "aws:CurrentTime" = local.from }
          DateLessThanEquals    = { "aws:CurrentTime" = local.until }
          StringEquals          = { "sts:SourceIdentity" = local.person }
        }
      } if opened],
    )
  }

  permissions = {
    Version = "2012-10-17"
    Statement = concat(
      [for statement in [
        { Sid = "Open", Effect = "Allow", Action = sort(var.allowed.actions), Resource = sort(var.allowed.resources) },
        # A session outlives the window by up to an hour: here it does not.
        { Sid = "Ended", Effect = "Deny", Action = "*", Resource = "*", Condition = { DateGreaterThan = { "aws:CurrentTime" = local.until } } },
        { Sid = "Nameless", Effect = "Deny", Action = "*", Resource = "*", Condition = { Null = { "aws:SourceIdentity" = "true" } } },
        { Sid = "OtherSessions", Effect = "Deny", Action = ["iam:PassRole", "sts:*", "organizations:*", "rolesanywhere:*"], Resource = "*" },
        { Sid = "OwnRoles", Effect = "Deny", Action = "iam:*", Resource = ["arn:${var.partition}:iam::*:policy/seb/*", "arn:${var.partition}:iam::*:role/seb/*"] },
        { Sid = "OwnTrail", Effect = "Deny", Action = "cloudtrail:*", Resource = "*" },
      ] : statement if local.open],
      [for closed in [!local.open] : { Sid = "Closed", Effect = "Deny", Action = "*", Resource = "*" } if closed],
    )
  }

  # Every attempt, whether it came through or not.
  pattern = {
    "detail-type" = ["AWS API Call via CloudTrail"]
    source        = [{ prefix = "aws." }]
    detail = {
      eventSource       = ["sts.amazonaws.com"]
      eventName         = [{ prefix = "AssumeRole" }]
      requestParameters = { roleArn = [local.role] }
    }
  }

  policies  = { trust = jsonencode(local.trust), permissions = jsonencode(local.permissions), pattern = jsonencode(local.pattern) }
  limits    = { trust = 2048, permissions = 10240, pattern = 2048 }
  too_large = [for name, text in local.policies : "${name} (${length(text)})" if length(text) > local.limits[name]]
}

output "policies" {
  description = "The policies of the role and the pattern of its rule as they are deployed, JSON by name."
  value       = local.policies

  precondition {
    condition     = length(local.too_large) == 0
    error_message = "AWS does not take texts of this length: ${join(", ", local.too_large)}. Use fewer operators, actions and resources."
  }
}
