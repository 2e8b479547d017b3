output "arn" {
  description = "ARN of the policy, for `broker-roles`."
  value       = aws_iam_policy.this.arn
}
