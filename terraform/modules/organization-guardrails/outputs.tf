output "policy_ids" {
  description = "The id of each policy, by its name."
  value = merge(
    { for name, policy in aws_organizations_policy.control : name => policy.id },
    { for policy in aws_organizations_policy.resources : "resources" => policy.id },
  )
}
