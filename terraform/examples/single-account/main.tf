# One account without an organization: the broker has its way in, and mutations of others are found, but not refused.
# Without service control policies an administrator of the account does as before. See ../organization.

variable "account_id" {
  type        = string
  description = "The account."
}

variable "region" {
  type        = string
  description = "The region."
  default     = "eu-west-1"
}

variable "execution_ca" {
  type        = string
  description = "PEM of the CA below which execution identities are minted (`execution-bundle.pem`)."
}

variable "trust_domain_ca" {
  type        = string
  description = "PEM of the CA of the trust domain, below which broker and authority have their own identities (`bundle.pem`)."
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]
}

module "trust_anchor" {
  source       = "../../modules/trust-anchor"
  certificates = var.execution_ca
}

module "own_trust_anchor" {
  source       = "../../modules/trust-anchor"
  name         = "seb-own"
  certificates = var.trust_domain_ca
}

module "permission_boundary" {
  source      = "../../modules/permission-boundary"
  account_id  = var.account_id
  services    = ["autoscaling", "dynamodb", "s3"]
  iam_actions = ["iam:UpdateAccessKey"]
}

module "broker_roles" {
  source                  = "../../modules/broker-roles"
  account_id              = var.account_id
  trust_domain            = "example.org"
  trust_anchor_arn        = module.trust_anchor.arn
  permission_boundary_arn = module.permission_boundary.arn

  targets = {
    shop = {
      actions   = ["autoscaling:UpdateAutoScalingGroup", "dynamodb:UpdateTable"]
      resources = ["arn:aws:autoscaling:${var.region}:${var.account_id}:autoScalingGroup:*:autoScalingGroupName/shop-*", "arn:aws:dynamodb:${var.region}:${var.account_id}:table/shop-*"]
    }
    incident-response = {
      actions   = ["iam:UpdateAccessKey"]
      resources = ["arn:aws:iam::${var.account_id}:user/*"]
    }
  }

  readers = {
    trust_anchor_arn = module.own_trust_anchor.arn
    spiffe_ids       = { broker = "spiffe://example.org/seb", authority = "spiffe://example.org/sab" }
    actions          = ["autoscaling:DescribeAutoScalingGroups", "dynamodb:DescribeTable", "iam:GetUser", "iam:ListAccessKeys"]
  }
}

resource "aws_sns_topic" "security" {
  name              = "seb-security"
  kms_master_key_id = aws_kms_key.security.arn
}

# In the policy of a key `*` is that key, and who administers it is the account.
data "aws_iam_policy_document" "security_key" {
  #checkov:skip=CKV_AWS_109: the resource is the key
  #checkov:skip=CKV_AWS_111: the resource is the key
  #checkov:skip=CKV_AWS_356: the resource is the key
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${var.account_id}:root"]
    }
  }

  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_kms_key" "security" {
  description         = "Alarms of the broker's boundary"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.security_key.json
}

data "aws_iam_policy_document" "security" {
  statement {
    sid       = "Alarms"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.security.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_sns_topic_policy" "security" {
  arn    = aws_sns_topic.security.arn
  policy = data.aws_iam_policy_document.security.json
}

module "detection" {
  source          = "../../modules/detection"
  account_id      = var.account_id
  region          = var.region
  alarm_topic_arn = aws_sns_topic.security.arn

  protected_events = {
    "autoscaling.amazonaws.com" = ["UpdateAutoScalingGroup"]
    "dynamodb.amazonaws.com"    = ["UpdateTable"]
    "iam.amazonaws.com"         = ["UpdateAccessKey"]
  }
}

module "break_glass" {
  source          = "../../modules/break-glass"
  account_id      = var.account_id
  region          = var.region
  operator_arns   = ["arn:aws:iam::${var.account_id}:user/ann", "arn:aws:iam::${var.account_id}:user/bob"]
  alarm_topic_arn = aws_sns_topic.security.arn

  allowed = {
    actions   = ["autoscaling:UpdateAutoScalingGroup", "dynamodb:UpdateTable", "iam:UpdateAccessKey"]
    resources = ["*"]
  }
}

output "broker" {
  description = "What the configuration of the broker needs."
  value = {
    trust_anchor_arn    = module.trust_anchor.arn
    profile_arn         = module.broker_roles.profile_arn
    bootstrap_role_arn  = module.broker_roles.bootstrap_role_arn
    execution_role_arns = module.broker_roles.execution_role_arns
    own_anchor_arn      = module.own_trust_anchor.arn
    reader_profile_arn  = module.broker_roles.reader_profile_arn
    reader_role_arns    = module.broker_roles.reader_role_arns
  }
}
