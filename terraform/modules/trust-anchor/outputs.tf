output "arn" {
  description = "ARN of the trust anchor: for `broker-roles`, `organization-guardrails` and the configuration of the broker."
  value       = aws_rolesanywhere_trust_anchor.this.arn
}
