# Each module with a mocked provider: its real schema, and no AWS. `terraform init && terraform test` in terraform/.

mock_provider "aws" {
  mock_resource "aws_rolesanywhere_trust_anchor" {
    defaults = { arn = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/11111111-2222-3333-4444-555555555555" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/seb/mocked" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/seb/mocked" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = {
      arn = "arn:aws:sqs:eu-west-1:123456789012:seb-detection"
      url = "https://sqs.eu-west-1.amazonaws.com/123456789012/seb-detection"
    }
  }
}

variables {
  account_id      = "123456789012"
  region          = "eu-west-1"
  alarm_topic_arn = "arn:aws:sns:eu-west-1:123456789012:security"
}

run "trust_anchor" {
  module {
    source = "./modules/trust-anchor"
  }

  variables {
    private_ca_arn = "arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = [for notice in aws_rolesanywhere_trust_anchor.this.notification_settings : notice.event if notice.enabled] == ["CA_CERTIFICATE_EXPIRY"]
    error_message = "Notice of expiring leaves must be off, and of the CA on."
  }

  assert {
    condition     = aws_rolesanywhere_trust_anchor.this.enabled && one(aws_rolesanywhere_trust_anchor.this.source).source_type == "AWS_ACM_PCA"
    error_message = "The anchor must be enabled, and of the CA that was given."
  }
}

run "trust_anchor_refuses_private_keys" {
  command = plan

  module {
    source = "./modules/trust-anchor"
  }

  variables {
    certificates = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"
  }

  expect_failures = [var.certificates]
}

run "permission_boundary" {
  module {
    source = "./modules/permission-boundary"
  }

  variables {
    services = ["dynamodb", "s3"]
  }

  assert {
    condition     = aws_iam_policy.this.path == "/seb/" && aws_iam_policy.this.policy == output.policies.boundary
    error_message = "The boundary must be where the guardrails protect it."
  }
}

run "broker_roles" {
  module {
    source = "./modules/broker-roles"
  }

  variables {
    trust_domain            = "example.org"
    trust_anchor_arn        = run.trust_anchor.arn
    permission_boundary_arn = "arn:aws:iam::123456789012:policy/seb/seb-execution-boundary"

    targets = {
      orders = { actions = ["dynamodb:UpdateTable"], resources = ["arn:aws:dynamodb:eu-west-1:123456789012:table/orders"] }
      shop   = { actions = ["s3:PutBucketPolicy"], resources = ["arn:aws:s3:::shop"] }
    }

    readers = {
      trust_anchor_arn = run.trust_anchor.arn
      spiffe_ids       = { broker = "spiffe://example.org/seb", authority = "spiffe://example.org/sab" }
      actions          = ["dynamodb:DescribeTable"]
    }
  }

  assert {
    condition     = alltrue([for name, role in aws_iam_role.execution : role.path == "/seb/execution/" && role.name == "seb-${name}" && role.permissions_boundary == var.permission_boundary_arn && role.max_session_duration == 3600])
    error_message = "Execution roles must be where the guardrails know them, inside the boundary."
  }

  assert {
    condition     = aws_rolesanywhere_profile.this[0].duration_seconds == 900 && aws_rolesanywhere_profile.this[0].session_policy == output.policies.bootstrap_permissions
    error_message = "The first session must be as short as AWS makes it, under the session policy of the profile."
  }

  assert {
    condition     = aws_iam_role.bootstrap[0].path == "/seb/bootstrap/" && strcontains(aws_iam_role.bootstrap[0].assume_role_policy, run.trust_anchor.arn)
    error_message = "The bootstrap role must be about this anchor."
  }

  assert {
    condition     = length(output.execution_role_arns) == 2 && output.profile_arn != null
    error_message = "The broker's configuration needs a role for each target, and the profile."
  }

  assert {
    condition     = alltrue([for name, role in aws_iam_role.reader : role.path == "/seb/reader/" && role.name == "seb-reader-${name}" && role.permissions_boundary == aws_iam_policy.reader[0].arn]) && aws_iam_policy.reader[0].path == "/seb/"
    error_message = "Roles that read must be where the guardrails know them, inside their boundary."
  }

  assert {
    condition     = length(output.reader_role_arns) == 2 && output.reader_profile_arn != null && aws_rolesanywhere_profile.reader[0].duration_seconds == 900
    error_message = "Broker and authority each need a role that reads, and its profile."
  }
}

run "broker_roles_by_token" {
  module {
    source = "./modules/broker-roles"
  }

  variables {
    exchange                = "web-identity"
    trust_domain            = "example.org"
    permission_boundary_arn = "arn:aws:iam::123456789012:policy/seb/seb-execution-boundary"
    oidc                    = { issuer = "https://spire.example.org", audience = "seb-aws" }
    targets                 = { orders = { actions = ["dynamodb:UpdateTable"], resources = ["arn:aws:dynamodb:eu-west-1:123456789012:table/orders"] } }
  }

  assert {
    condition     = length(aws_iam_role.bootstrap) == 0 && length(aws_rolesanywhere_profile.this) == 0 && aws_iam_role.execution["orders"].path == "/seb/federated/"
    error_message = "By token there is no first session, and the roles have a path of their own."
  }

  assert {
    condition     = length(aws_iam_role.reader) == 0 && length(aws_iam_policy.reader) == 0 && output.reader_profile_arn == null
    error_message = "Without readers nothing is made for them."
  }
}

run "organization_guardrails" {
  module {
    source = "./modules/organization-guardrails"
  }

  variables {
    target_ids              = ["r-abcd", "123456789012"]
    protected               = { actions = ["dynamodb:UpdateTable", "ec2:AuthorizeSecurityGroupIngress"], resources = ["*"] }
    administrator_role_arns = ["arn:aws:iam::*:role/infrastructure/terraform"]
    trust_anchor_arns       = [run.trust_anchor.arn]
  }

  assert {
    condition     = alltrue([for policy in aws_organizations_policy.control : policy.type == "SERVICE_CONTROL_POLICY"]) && aws_organizations_policy.resources[0].type == "RESOURCE_CONTROL_POLICY"
    error_message = "Three service control policies, one resource control policy."
  }

  assert {
    condition     = length(aws_organizations_policy_attachment.this) == 8 && length(output.policy_ids) == 4
    error_message = "Each policy must be attached to each target."
  }

  assert {
    condition     = output.bound_by_scp_only == ["ec2:AuthorizeSecurityGroupIngress"]
    error_message = "What no resource control policy binds must be said."
  }
}

run "organization_guardrails_without_resource_control" {
  module {
    source = "./modules/organization-guardrails"
  }

  variables {
    target_ids              = ["r-abcd"]
    protected               = { actions = ["dynamodb:UpdateTable"], resources = ["*"] }
    administrator_role_arns = ["arn:aws:iam::*:role/infrastructure/terraform"]
    resource_control        = false
  }

  assert {
    condition     = length(aws_organizations_policy_attachment.this) == 3 && length(aws_organizations_policy.resources) == 0 && output.bound_by_scp_only == ["dynamodb:UpdateTable"]
    error_message = "Without resource control there are three policies, and every action is bound by them alone."
  }
}

run "detection" {
  module {
    source = "./modules/detection"
  }

  variables {
    protected_events = { "s3.amazonaws.com" = ["PutBucketPolicy"] }
  }

  assert {
    condition     = aws_sqs_queue.this.sqs_managed_sse_enabled && alltrue([for target in aws_cloudwatch_event_target.this : target.arn == aws_sqs_queue.this.arn]) && length(aws_cloudwatch_event_target.this) == 2
    error_message = "Both rules must lead to the queue, which is encrypted."
  }

  assert {
    condition     = alltrue([for alarm in concat([aws_cloudwatch_metric_alarm.this], values(aws_cloudwatch_metric_alarm.lost)) : one(alarm.alarm_actions) == var.alarm_topic_arn && startswith(alarm.alarm_name, "seb-")])
    error_message = "Each alarm must be heard, and have a name that the guardrails protect."
  }
}

run "break_glass_is_closed" {
  module {
    source = "./modules/break-glass"
  }

  variables {
    operator_arns = ["arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/bob"]
    allowed       = { actions = ["s3:PutBucketPolicy"], resources = ["*"] }
  }

  assert {
    condition     = !output.open && alltrue([for statement in jsondecode(aws_iam_role.this.assume_role_policy).Statement : statement.Effect == "Deny"])
    error_message = "Without a window nobody assumes the role."
  }

  assert {
    condition     = aws_cloudwatch_event_target.this.arn == var.alarm_topic_arn && aws_iam_role.this.path == "/seb/break-glass/"
    error_message = "Every attempt must be heard."
  }
}

run "break_glass_is_open" {
  module {
    source = "./modules/break-glass"
  }

  variables {
    operator_arns = ["arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/bob"]
    allowed       = { actions = ["s3:PutBucketPolicy"], resources = ["*"] }
    window        = { from = "2026-11-21T20:00:00Z", until = "2026-11-21T21:00:00Z" }
  }

  assert {
    condition     = output.open && strcontains(aws_iam_role.this.description, "until 2026-11-21T21:00:00Z")
    error_message = "An open glass must say until when."
  }
}
