# A stock control plane on ECS with the service beside it: the same as config/cloudformation/control-plane.yaml. The containers and the
# permissions are in task.tf.

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
  # The logs of the service have the audit lines, by which a token is revoked.
  audit_log_group     = aws_cloudwatch_log_group.audit.name
  audit_log_group_arn = "${aws_cloudwatch_log_group.audit.arn}:*"
  targets = {
    dp_server = { container = "control-plane", port = 5678, health = 5680, deregistration_delay = 60, idle_timeout = 3600 }
    service   = { container = "kuma-aws-iam", port = 5690, health = 5691, deregistration_delay = 30, idle_timeout = 350 }
    api       = { container = "control-plane", port = 5682, health = 5680, deregistration_delay = 30, idle_timeout = 350 }
  }
}

resource "aws_iam_role" "task" {
  name               = var.service_role_name
  description        = "Reads the tags of the roles of workloads"
  assume_role_policy = jsonencode(local.task_trust)
}

resource "aws_iam_role_policy" "task" {
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

resource "aws_cloudwatch_log_group" "audit" {
  name              = "/mesh/${var.name}/audit"
  retention_in_days = var.audit_log_retention
  kms_key_id        = var.kms_key
  skip_destroy      = true
}

# TCP, not TLS: the control plane and the service end TLS themselves, so nothing between proxy and control plane sees a token.
resource "aws_lb" "this" {
  name_prefix                      = "mesh-"
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = var.network.subnets
  security_groups                  = [var.network.load_balancer_security_group]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
}

resource "aws_lb_target_group" "this" {
  for_each    = local.targets
  vpc_id      = var.network.vpc
  target_type = "ip"
  protocol    = "TCP"
  port        = each.value.port
  # The streams of a task that stops are closed after this time. Their proxies open new ones to another task.
  deregistration_delay   = each.value.deregistration_delay
  connection_termination = true
  health_check {
    protocol            = "HTTP"
    port                = tostring(each.value.health)
    path                = "/ready"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "this" {
  for_each                 = local.targets
  load_balancer_arn        = aws_lb.this.arn
  protocol                 = "TCP"
  port                     = each.value.port
  tcp_idle_timeout_seconds = each.value.idle_timeout
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}

# control-plane.NAMESPACE is the load balancer; control-plane-tasks.NAMESPACE are the tasks themselves.
resource "aws_service_discovery_service" "name" {
  name = "control-plane"
  dns_config {
    namespace_id   = var.network.namespace
    routing_policy = "WEIGHTED"
    dns_records {
      type = "A"
      ttl  = 15
    }
  }
}

resource "aws_service_discovery_instance" "name" {
  service_id  = aws_service_discovery_service.name.id
  instance_id = "load-balancer"
  attributes  = { AWS_ALIAS_DNS_NAME = aws_lb.this.dns_name }
}

resource "aws_service_discovery_service" "tasks" {
  name = "control-plane-tasks"
  dns_config {
    namespace_id   = var.network.namespace
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = 15
    }
  }
  health_check_custom_config {
    failure_threshold = 1
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 1024
  memory                   = 2048
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions    = jsonencode(local.container_definitions)
  volume {
    name = "control-plane-files"
  }
  volume {
    name = "service-files"
  }
  depends_on = [aws_iam_role_policy.execution]
}

resource "aws_ecs_service" "control_plane" {
  name                              = var.name
  cluster                           = var.network.cluster
  launch_type                       = "FARGATE"
  platform_version                  = "LATEST"
  desired_count                     = var.desired_count
  task_definition                   = aws_ecs_task_definition.this.arn
  enable_execute_command            = var.ecs_exec
  wait_for_steady_state             = true
  health_check_grace_period_seconds = 120
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  dynamic "load_balancer" {
    for_each = local.targets
    content {
      container_name   = load_balancer.value.container
      container_port   = load_balancer.value.port
      target_group_arn = aws_lb_target_group.this[load_balancer.key].arn
    }
  }
  service_registries {
    registry_arn = aws_service_discovery_service.tasks.arn
  }
  network_configuration {
    subnets          = var.network.subnets
    security_groups  = [var.network.control_plane_security_group]
    assign_public_ip = false
  }
  depends_on = [aws_lb_listener.this, aws_iam_role_policy.task]
}

# Alarms on faults that stop new proxies from connecting. Finer rules are in config/prometheus/alerts.yaml.
resource "aws_cloudwatch_metric_alarm" "targets" {
  for_each            = { dp_server = "No task takes the streams of proxies", service = "No task gives tokens" }
  alarm_name          = "${var.name}-${each.key}-targets"
  alarm_description   = each.value
  namespace           = "AWS/NetworkELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this[each.key].arn_suffix }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 2
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "running_tasks" {
  alarm_name          = "${var.name}-running-tasks"
  alarm_description   = "Fewer tasks run than desired for 10 minutes"
  namespace           = "ECS/ContainerInsights"
  metric_name         = "RunningTaskCount"
  dimensions          = { ClusterName = var.network.cluster, ServiceName = aws_ecs_service.control_plane.name }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 10
  threshold           = var.desired_count
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "ignore"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "memory" {
  alarm_name          = "${var.name}-memory"
  alarm_description   = "The tasks use over 85 % of their memory for 10 minutes"
  namespace           = "AWS/ECS"
  metric_name         = "MemoryUtilization"
  dimensions          = { ClusterName = var.network.cluster, ServiceName = aws_ecs_service.control_plane.name }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 10
  threshold           = 85
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "missing"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_log_metric_filter" "undecided" {
  name           = "${var.name}-undecided"
  log_group_name = local.audit_log_group
  pattern        = "{ $.event = \"decision\" && $.outcome = \"error\" }"
  metric_transformation {
    namespace     = "Mesh/${var.name}"
    name          = "UndecidedCalls"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "undecided" {
  alarm_name          = "${var.name}-undecided"
  alarm_description   = "The service could not decide 10 calls or more in each of 3 minutes; the field reason of its log says why"
  namespace           = "Mesh/${var.name}"
  metric_name         = "UndecidedCalls"
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 3
  threshold           = 10
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}
