# Where metrics and alarms go: the same as config/cloudformation/monitoring.yaml, and the alerts themselves.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

resource "aws_sns_topic" "this" {
  name              = "${var.name}-alarms"
  display_name      = "Mesh alarms"
  kms_master_key_id = var.kms_key
}

resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AlarmsAndAlerts"
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "aps.amazonaws.com"] }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.this.arn
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
      },
      {
        Sid       = "AlertsNeedAttributes"
        Effect    = "Allow"
        Principal = { Service = "aps.amazonaws.com" }
        Action    = "sns:GetTopicAttributes"
        Resource  = aws_sns_topic.this.arn
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
      },
    ]
  })
}

# Prometheus's log has to have a name of this form.
resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/vendedlogs/prometheus/${var.name}"
  retention_in_days = var.log_retention
  kms_key_id        = var.kms_key
}

resource "aws_prometheus_workspace" "this" {
  alias = var.name
  logging_configuration {
    log_group_arn = "${aws_cloudwatch_log_group.this.arn}:*"
  }
}

resource "aws_prometheus_alert_manager_definition" "this" {
  workspace_id = aws_prometheus_workspace.this.id
  definition = yamlencode({
    alertmanager_config = yamlencode({
      route = { receiver = "topic", group_by = ["alertname", "job"] }
      receivers = [{
        name        = "topic"
        sns_configs = [{ topic_arn = aws_sns_topic.this.arn, sigv4 = { region = data.aws_region.current.region } }]
      }]
    })
  })
}

resource "aws_prometheus_rule_group_namespace" "alerts" {
  workspace_id = aws_prometheus_workspace.this.id
  name         = "kuma-aws-iam"
  data         = file("${path.module}/../../../prometheus/alerts.yaml")
}
