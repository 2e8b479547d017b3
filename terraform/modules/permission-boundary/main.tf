resource "aws_iam_policy" "this" {
  name        = var.name
  path        = "/seb/"
  description = "What no execution can exceed"
  policy      = local.policies.boundary
  tags        = var.tags
}
