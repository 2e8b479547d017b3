output "profile_arn" {
  description = "The profile, for the configuration of the broker; null for `web-identity`."
  value       = one(aws_rolesanywhere_profile.this[*].arn)
}

output "bootstrap_role_arn" {
  description = "The role of the first session; null for `web-identity`."
  value       = one(aws_iam_role.bootstrap[*].arn)
}

output "execution_role_arns" {
  description = "The role of each target, by its name."
  value       = { for name, role in aws_iam_role.execution : name => role.arn }
}

output "reader_profile_arn" {
  description = "The profile of the roles that read; null without `readers`."
  value       = one(aws_rolesanywhere_profile.reader[*].arn)
}

output "reader_role_arns" {
  description = "The role of each reader, by its name."
  value       = { for name, role in aws_iam_role.reader : name => role.arn }
}
