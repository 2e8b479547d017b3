# The CA whose execution identities AWS takes for sessions.
#
# What it does not bind:
# - It admits every certificate below its CA. That only execution identities lead to the bootstrap role is the work of that
#   role's trust policy (module broker-roles).
# - Any other anchor of the account leads to every role whose trust policy does not ask for `aws:SourceArn`.
# - Disabling it, or a CRL, stops new sessions. Those that exist go on to their end.
resource "aws_rolesanywhere_trust_anchor" "this" {
  name    = var.name
  enabled = true
  tags    = var.tags

  source {
    source_type = var.private_ca_arn == null ? "CERTIFICATE_BUNDLE" : "AWS_ACM_PCA"

    source_data {
      x509_certificate_data = var.certificates
      acm_pca_arn           = var.private_ca_arn
    }
  }

  notification_settings {
    event     = "CA_CERTIFICATE_EXPIRY"
    channel   = "ALL"
    enabled   = true
    threshold = var.expiry_notice_days
  }

  # On by default, at 45 days: an execution identity lives for seconds, so each one would be expiring.
  notification_settings {
    event     = "END_ENTITY_CERTIFICATE_EXPIRY"
    channel   = "ALL"
    enabled   = false
    threshold = 1
  }
}
