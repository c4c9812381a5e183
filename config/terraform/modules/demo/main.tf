# Two services of a mesh: a web page, demo-app, that calls a counter, kv. The same as config/cloudformation/demo.yaml.

module "counter" {
  source                       = "../dataplane"
  name                         = "${var.name}-counter"
  network                      = var.network
  mesh                         = var.mesh
  audience                     = var.audience
  control_plane_host           = var.control_plane_host
  agent_image                  = var.agent_image
  kuma_dp_image                = var.kuma_dp_image
  kuma_version                 = var.kuma_version
  certificate_authority_secret = var.certificate_authority_secret
  caller_token_secret          = var.caller_token_secret
  workload_image               = var.demo_image
  workload_port                = 5050
  service                      = var.counter_service
  workload_label               = var.counter_service
  # Each task counts for itself.
  desired_count     = 1
  workload_variable = "ADDRESS"
  workload_value    = "127.0.0.1"
}

module "page" {
  source                       = "../dataplane"
  name                         = "${var.name}-page"
  network                      = var.network
  mesh                         = var.mesh
  audience                     = var.audience
  control_plane_host           = var.control_plane_host
  agent_image                  = var.agent_image
  kuma_dp_image                = var.kuma_dp_image
  kuma_version                 = var.kuma_version
  certificate_authority_secret = var.certificate_authority_secret
  caller_token_secret          = var.caller_token_secret
  workload_image               = var.demo_image
  workload_port                = 5050
  service                      = var.page_service
  workload_label               = var.page_service
  workload_variable            = "KV_URL"
  workload_value               = "http://127.0.0.1:5051"
  # 8080 is the counter's proxy_port.
  outbounds = var.kuma_version == "3.0-or-later" ? jsonencode([
    { port = 5051, backendRef = { kind = "MeshService", name = var.counter_service, port = 8080 } }
  ]) : jsonencode([{ port = 5051, tags = { "kuma.io/service" = var.counter_service } }])
  # Of the listener, so that ECS finds the target group in use when it makes the service.
  workload_target_group = aws_lb_listener.this.default_action[0].target_group_arn
  workload_callers      = var.page_callers
}

resource "aws_lb" "this" {
  name_prefix                      = "demo-"
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = var.network.subnets
  security_groups                  = [aws_security_group.load_balancer.id]
  enable_cross_zone_load_balancing = true
}

resource "aws_security_group" "load_balancer" {
  name_prefix = "${var.name}-load-balancer-"
  description = "The load balancer in front of the page of the demo"
  vpc_id      = var.network.vpc
  ingress {
    description = "browsers"
    protocol    = "tcp"
    from_port   = 80
    to_port     = 80
    cidr_blocks = [var.page_callers]
  }
  egress {
    description = "the page"
    protocol    = "tcp"
    from_port   = 5050
    to_port     = 5050
    cidr_blocks = [var.page_callers]
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_target_group" "this" {
  vpc_id               = var.network.vpc
  target_type          = "ip"
  protocol             = "TCP"
  port                 = 5050
  deregistration_delay = 30
  health_check {
    protocol = "TCP"
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "TCP"
  port              = 80
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}
