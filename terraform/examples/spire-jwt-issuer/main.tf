# Sessions by JWT-SVIDs of SPIRE, one round trip each: AWS reads the keys of SPIRE's OIDC discovery provider over public https.
# What this gives up: docs/aws.md, exchange `web-identity`.

variable "account_id" {
  type        = string
  description = "The account."
}

variable "region" {
  type        = string
  description = "The region."
  default     = "eu-west-1"
}

variable "issuer" {
  type        = string
  description = "`jwt_issuer` of the SPIRE server: the https URL of its OIDC discovery provider."
  default     = "https://oidc.spire.example.org"
}

variable "own_trust_anchor_arn" {
  type        = string
  description = "Trust anchor of the trust domain, by which broker and authority read the account: module `trust-anchor`, as in ../single-account."
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]
}

# Its own audience, so that no token for somebody else opens the account.
resource "aws_iam_openid_connect_provider" "spire" {
  url            = var.issuer
  client_id_list = ["seb-aws"]
}

module "permission_boundary" {
  source     = "../../modules/permission-boundary"
  account_id = var.account_id
  services   = ["dynamodb"]

  # A JWT-SVID brings none.
  require_source_identity = false
}

module "broker_roles" {
  source                  = "../../modules/broker-roles"
  exchange                = "web-identity"
  account_id              = var.account_id
  trust_domain            = "example.org"
  permission_boundary_arn = module.permission_boundary.arn

  oidc = {
    issuer   = var.issuer
    audience = "seb-aws"
  }

  targets = {
    orders = {
      actions   = ["dynamodb:UpdateTable"]
      resources = ["arn:aws:dynamodb:${var.region}:${var.account_id}:table/orders"]
    }
  }

  readers = {
    trust_anchor_arn = var.own_trust_anchor_arn
    spiffe_ids       = { broker = "spiffe://example.org/seb", authority = "spiffe://example.org/sab" }
    actions          = ["dynamodb:DescribeTable"]
  }

  depends_on = [aws_iam_openid_connect_provider.spire]
}

output "execution_role_arns" {
  description = "The role of each target."
  value       = module.broker_roles.execution_role_arns
}
