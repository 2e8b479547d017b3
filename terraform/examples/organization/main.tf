# An organization: the guardrails are deployed from its management account, the rest into the account in which the broker makes
# changes. From then on nobody else makes them there, but for those whom docs/terraform.md names.

variable "management_role_arn" {
  type        = string
  description = "Role in the management account, or in the one to which policies are delegated, that may make policies."
}

variable "workload_role_arn" {
  type        = string
  description = "Role in the account of the broker's targets that applies these modules: the one administrator of the guardrails."
}

variable "account_id" {
  type        = string
  description = "The account of the broker's targets."
}

variable "organizational_unit" {
  type        = string
  description = "The organizational unit of that account."
}

variable "region" {
  type        = string
  description = "The region."
  default     = "eu-west-1"
}

variable "execution_ca" {
  type        = string
  description = "PEM of the CA below which execution identities are minted."
}

variable "trust_domain_ca" {
  type        = string
  description = "PEM of the CA of the trust domain, below which broker and authority have their own identities."
}

variable "alarm_topic_arn" {
  type        = string
  description = "SNS topic that is told of what is found."
}

locals {
  actions = ["dynamodb:DeleteTable", "dynamodb:UpdateTable", "ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress", "s3:DeleteBucketPolicy", "s3:PutBucketPolicy"]
}

provider "aws" {
  alias  = "management"
  region = "us-east-1"

  assume_role {
    role_arn = var.management_role_arn
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]

  assume_role {
    role_arn = var.workload_role_arn
  }
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
  source     = "../../modules/permission-boundary"
  account_id = var.account_id
  services   = ["dynamodb", "ec2", "s3"]
}

module "broker_roles" {
  source                  = "../../modules/broker-roles"
  account_id              = var.account_id
  trust_domain            = "example.org"
  trust_anchor_arn        = module.trust_anchor.arn
  permission_boundary_arn = module.permission_boundary.arn

  targets = {
    network = {
      actions   = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
      resources = ["arn:aws:ec2:${var.region}:${var.account_id}:security-group/*"]
    }
    data = {
      actions   = ["dynamodb:UpdateTable", "s3:PutBucketPolicy"]
      resources = ["arn:aws:dynamodb:${var.region}:${var.account_id}:table/*", "arn:aws:s3:::shop-*"]
    }
  }

  readers = {
    trust_anchor_arn = module.own_trust_anchor.arn
    spiffe_ids       = { broker = "spiffe://example.org/seb", authority = "spiffe://example.org/sab" }
    actions          = ["dynamodb:DescribeTable", "ec2:DescribeSecurityGroupRules", "s3:GetBucketPolicy"]
  }
}

module "guardrails" {
  source = "../../modules/organization-guardrails"

  providers = {
    aws = aws.management
  }

  target_ids               = [var.organizational_unit]
  administrator_role_arns  = [var.workload_role_arn]
  trust_anchor_arns        = [module.trust_anchor.arn]
  reader_trust_anchor_arns = [module.own_trust_anchor.arn]
  break_glass              = true

  protected = {
    actions   = local.actions
    resources = ["*"]
  }
}

module "detection" {
  source          = "../../modules/detection"
  account_id      = var.account_id
  region          = var.region
  alarm_topic_arn = var.alarm_topic_arn

  protected_events = {
    for service in distinct([for action in local.actions : split(":", action)[0]]) :
    "${service}.amazonaws.com" => [for action in local.actions : split(":", action)[1] if startswith(action, "${service}:")]
  }
}

module "break_glass" {
  source          = "../../modules/break-glass"
  account_id      = var.account_id
  region          = var.region
  operator_arns   = ["arn:aws:iam::${var.account_id}:user/ann", "arn:aws:iam::${var.account_id}:user/bob"]
  alarm_topic_arn = var.alarm_topic_arn

  allowed = {
    actions   = local.actions
    resources = ["*"]
  }

  # To break the glass, add the window, and take it away afterwards:
  #   window = { from = "2026-11-21T20:00:00Z", until = "2026-11-21T22:00:00Z" }
}

output "bound_by_scp_only" {
  description = "Protected actions that no resource control policy binds."
  value       = module.guardrails.bound_by_scp_only
}
