resource "aws_iam_role" "bootstrap" {
  count = local.by_anchor ? 1 : 0

  name                 = "${var.name}-bootstrap"
  path                 = "/seb/bootstrap/"
  description          = "First session of an execution: only leads to the execution roles"
  assume_role_policy   = local.policies.bootstrap_trust
  max_session_duration = 3600
  tags                 = var.tags
}

resource "aws_iam_role_policy" "bootstrap" {
  count = local.by_anchor ? 1 : 0

  name   = "seb"
  role   = aws_iam_role.bootstrap[0].id
  policy = local.policies.bootstrap_permissions
}

resource "aws_rolesanywhere_profile" "this" {
  count = local.by_anchor ? 1 : 0

  name             = var.name
  enabled          = true
  role_arns        = [aws_iam_role.bootstrap[0].arn]
  session_policy   = local.policies.bootstrap_permissions
  duration_seconds = 900
  tags             = var.tags
}

# What they do not bind: calls of an AWS service by its own role, or by one that was passed to it, have no source identity.
resource "aws_iam_role" "execution" {
  for_each = var.targets

  name                 = "${var.name}-${each.key}"
  path                 = local.path
  description          = "Executions on target ${each.key}, each narrowed to its certified call"
  assume_role_policy   = local.policies.execution_trust
  permissions_boundary = var.permission_boundary_arn
  max_session_duration = 3600
  tags                 = var.tags

  # Its trust policy names that role.
  depends_on = [aws_iam_role.bootstrap]
}

resource "aws_iam_role_policy" "execution" {
  for_each = var.targets

  name   = "seb"
  role   = aws_iam_role.execution[each.key].id
  policy = local.policies["execution_permissions/${each.key}"]
}

resource "aws_iam_policy" "reader" {
  count = var.readers == null ? 0 : 1

  name        = "${var.name}-reader-boundary"
  path        = "/seb/"
  description = "What no reader can exceed"
  policy      = local.policies.reader
  tags        = var.tags
}

resource "aws_iam_role" "reader" {
  for_each = local.spiffe_ids

  name                 = "${var.name}-reader-${each.key}"
  path                 = "/seb/reader/"
  description          = "Reads baselines and evidence, as ${each.key}"
  assume_role_policy   = local.policies["reader_trust/${each.key}"]
  permissions_boundary = aws_iam_policy.reader[0].arn
  max_session_duration = 3600
  tags                 = var.tags
}

resource "aws_iam_role_policy" "reader" {
  for_each = local.spiffe_ids

  name   = "seb"
  role   = aws_iam_role.reader[each.key].id
  policy = local.policies.reader
}

# Another than that of the bootstrap role, whose session policy denies reading.
resource "aws_rolesanywhere_profile" "reader" {
  count = var.readers == null ? 0 : 1

  name             = "${var.name}-reader"
  enabled          = true
  role_arns        = [for role in aws_iam_role.reader : role.arn]
  duration_seconds = 900
  tags             = var.tags
}
