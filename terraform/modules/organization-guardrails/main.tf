# Deployed from the management account, or from the one to which policies are delegated. Neither is bound by them.
resource "aws_organizations_policy" "control" {
  for_each = { for name, text in local.policies : name => text if name != "resources" }

  name        = "${var.name}-${each.key}"
  description = "Nobody but the broker: ${each.key}"
  type        = "SERVICE_CONTROL_POLICY"
  content     = each.value
  tags        = var.tags
}

resource "aws_organizations_policy" "resources" {
  count = var.resource_control ? 1 : 0

  name        = "${var.name}-resources"
  description = "Nobody but the broker: resources"
  type        = "RESOURCE_CONTROL_POLICY"
  content     = local.policies.resources
  tags        = var.tags
}

locals {
  attachments = merge([
    for target in var.target_ids : { for name, _ in local.policies : "${name}/${target}" => { name = name, target = target } }
  ]...)
}

resource "aws_organizations_policy_attachment" "this" {
  for_each = local.attachments

  policy_id = each.value.name == "resources" ? aws_organizations_policy.resources[0].id : aws_organizations_policy.control[each.value.name].id
  target_id = each.value.target
}
