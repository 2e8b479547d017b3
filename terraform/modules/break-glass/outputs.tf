output "role_arn" {
  description = "The role."
  value       = aws_iam_role.this.arn
}

output "open" {
  description = "Whether there is a window in the configuration, past or not."
  value       = local.open
}
