resource "aws_iam_role" "this" {
  name                 = var.name
  path                 = "/seb/break-glass/"
  description          = local.open ? "Break glass: open from ${local.from} until ${local.until}" : "Break glass: closed"
  assume_role_policy   = local.policies.trust
  max_session_duration = 3600
  tags                 = var.tags
}

resource "aws_iam_role_policy" "this" {
  name   = "seb"
  role   = aws_iam_role.this.id
  policy = local.policies.permissions
}

resource "aws_cloudwatch_event_rule" "this" {
  name          = var.name
  description   = "Somebody asked for the break-glass role"
  event_pattern = local.policies.pattern
  tags          = var.tags
}

resource "aws_cloudwatch_event_target" "this" {
  rule = aws_cloudwatch_event_rule.this.name
  arn  = var.alarm_topic_arn
}
