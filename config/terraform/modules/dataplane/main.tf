# A workload with a sidecar on ECS: the same as config/cloudformation/dataplane.yaml. The containers, the role's tags and the permissions
# are in task.tf.

data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  region        = data.aws_region.current.region
  partition     = data.aws_partition.current.partition
  account_id    = data.aws_caller_identity.current.account_id
  log_group     = aws_cloudwatch_log_group.this.name
  log_group_arn = "${aws_cloudwatch_log_group.this.arn}:*"
  alarm_actions = var.alarm_topic == null ? [] : [var.alarm_topic]
}

resource "aws_iam_role" "task" {
  name = "mesh-${var.mesh}-${var.service}"
  # The service may read roles under this path only.
  path               = var.role_path
  description        = "The mesh identity of one service; it needs no permission for that"
  assume_role_policy = jsonencode(local.task_trust)
  tags               = local.role_tags
}

resource "aws_iam_role_policy" "task" {
  count  = var.ecs_exec ? 1 : 0
  role   = aws_iam_role.task.name
  name   = "task"
  policy = jsonencode({ Version = "2012-10-17", Statement = local.task_statements })
}

# What ECS itself needs to start the task; no container can use it.
resource "aws_iam_role" "execution" {
  name_prefix        = "${substr(var.name, 0, 24)}-start-"
  assume_role_policy = jsonencode(local.execution_trust)
}

resource "aws_iam_role_policy" "execution" {
  role   = aws_iam_role.execution.name
  name   = "start-the-task"
  policy = jsonencode(local.execution_policy)
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/mesh/${var.name}"
  retention_in_days = var.log_retention
  kms_key_id        = var.kms_key
}

# Callers from outside the mesh, if there is a target group for them. The group is there in any case: Terraform could not tell before the
# target group is made whether there will be one.
resource "aws_security_group" "workload" {
  name_prefix = "${var.name}-workload-"
  description = "Callers of the workload from outside the mesh"
  vpc_id      = var.network.vpc
  dynamic "ingress" {
    for_each = var.workload_target_group == null ? [] : [var.workload_port]
    content {
      description = "the load balancer"
      protocol    = "tcp"
      from_port   = ingress.value
      to_port     = ingress.value
      cidr_blocks = [var.workload_callers]
    }
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = [var.launch_type]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions    = jsonencode(local.container_definitions)
  volume {
    name = "kuma-token"
  }
  depends_on = [aws_iam_role_policy.execution]
}

resource "aws_ecs_service" "workload" {
  name                              = var.name
  cluster                           = var.network.cluster
  launch_type                       = var.launch_type
  desired_count                     = var.desired_count
  task_definition                   = aws_ecs_task_definition.this.arn
  enable_execute_command            = var.ecs_exec
  health_check_grace_period_seconds = var.workload_target_group == null ? null : 120
  # If the role lacks its tags, or the control plane refuses the token, the deployment fails and the old tasks keep running.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  dynamic "load_balancer" {
    for_each = var.workload_target_group == null ? [] : [var.workload_target_group]
    content {
      container_name   = "workload"
      container_port   = var.workload_port
      target_group_arn = load_balancer.value
    }
  }
  network_configuration {
    subnets          = var.network.subnets
    security_groups  = [var.network.proxy_security_group, aws_security_group.workload.id]
    assign_public_ip = false
  }
}

# An agent that cannot renew its token writes this line at each attempt. Nothing else fails before the token expires.
resource "aws_cloudwatch_log_metric_filter" "not_renewed" {
  name           = "${var.name}-not-renewed"
  log_group_name = local.log_group
  pattern        = "{ $.event = \"not renewed\" }"
  metric_transformation {
    namespace     = "Mesh/${var.name}"
    name          = "TokensNotRenewed"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "not_renewed" {
  alarm_name          = "${var.name}-not-renewed"
  alarm_description   = "An agent could not renew its token in 10 of 15 minutes; its log line has the reason, and valid_until"
  namespace           = "Mesh/${var.name}"
  metric_name         = "TokensNotRenewed"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "running_tasks" {
  alarm_name          = "${var.name}-running-tasks"
  alarm_description   = "Fewer tasks run than desired for 10 minutes"
  namespace           = "ECS/ContainerInsights"
  metric_name         = "RunningTaskCount"
  dimensions          = { ClusterName = var.network.cluster, ServiceName = aws_ecs_service.workload.name }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 10
  threshold           = var.desired_count
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "ignore"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}
