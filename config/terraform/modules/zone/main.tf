# A zone ingress or a zone egress on ECS: the same as config/cloudformation/zone.yaml. The containers, the role's tags and the permissions
# are in task.tf.

data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  region                 = data.aws_region.current.region
  partition              = data.aws_partition.current.partition
  account_id             = data.aws_caller_identity.current.account_id
  log_group              = aws_cloudwatch_log_group.this.name
  log_group_arn          = "${aws_cloudwatch_log_group.this.arn}:*"
  alarm_actions          = var.alarm_topic == null ? [] : [var.alarm_topic]
  is_ingress             = var.proxy_type == "ingress"
  load_balancer_dns_name = local.is_ingress ? aws_lb.this[0].dns_name : ""
}

resource "aws_iam_role" "task" {
  name = "mesh-${var.proxy_type}-${var.zone}"
  # The service may read roles under this path only.
  path               = var.role_path
  description        = "The identity of a zone proxy; it needs no permission for that"
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

# Other zones reach the ingress at this address. The proxies end mTLS themselves.
resource "aws_lb" "this" {
  count                            = local.is_ingress ? 1 : 0
  name_prefix                      = "mesh-"
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = var.network.subnets
  security_groups                  = [aws_security_group.load_balancer[0].id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
}

resource "aws_security_group" "load_balancer" {
  count       = local.is_ingress ? 1 : 0
  name_prefix = "${var.name}-load-balancer-"
  description = "The load balancer in front of the zone ingress"
  vpc_id      = var.network.vpc
  ingress {
    description = "other zones"
    protocol    = "tcp"
    from_port   = 10001
    to_port     = 10001
    cidr_blocks = [var.ingress_callers]
  }
  egress {
    description     = "the ingress"
    protocol        = "tcp"
    from_port       = 10001
    to_port         = 10001
    security_groups = [var.network.proxy_security_group]
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "load_balancer" {
  count                        = local.is_ingress ? 1 : 0
  security_group_id            = var.network.proxy_security_group
  description                  = "from the load balancer to the zone ingress"
  ip_protocol                  = "tcp"
  from_port                    = 10001
  to_port                      = 10001
  referenced_security_group_id = aws_security_group.load_balancer[0].id
}

resource "aws_lb_target_group" "this" {
  count                  = local.is_ingress ? 1 : 0
  vpc_id                 = var.network.vpc
  target_type            = "ip"
  protocol               = "TCP"
  port                   = 10001
  deregistration_delay   = 60
  connection_termination = true
  health_check {
    protocol            = "TCP"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  count             = local.is_ingress ? 1 : 0
  load_balancer_arn = aws_lb.this[0].arn
  protocol          = "TCP"
  port              = 10001
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[0].arn
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
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

resource "aws_ecs_service" "zone_proxy" {
  name                              = var.name
  cluster                           = var.network.cluster
  launch_type                       = "FARGATE"
  desired_count                     = var.desired_count
  task_definition                   = aws_ecs_task_definition.this.arn
  enable_execute_command            = var.ecs_exec
  health_check_grace_period_seconds = local.is_ingress ? 120 : null
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  dynamic "load_balancer" {
    for_each = aws_lb_target_group.this
    content {
      container_name   = "kuma-dp"
      container_port   = 10001
      target_group_arn = load_balancer.value.arn
    }
  }
  network_configuration {
    subnets          = var.network.subnets
    security_groups  = [var.network.proxy_security_group]
    assign_public_ip = false
  }
  depends_on = [aws_lb_listener.this]
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
  dimensions          = { ClusterName = var.network.cluster, ServiceName = aws_ecs_service.zone_proxy.name }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 10
  threshold           = var.desired_count
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "ignore"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}
