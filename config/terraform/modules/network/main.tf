# The network of a mesh on ECS: the same as config/cloudformation/network.yaml.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_availability_zones" "available" {
  state = "available"
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  region     = data.aws_region.current.region
  account_id = data.aws_caller_identity.current.account_id
  makes_vpc  = var.existing_vpc == null
  nat_zones  = local.makes_vpc ? { none = [], one = ["a"], one-per-zone = ["a", "b"] }[var.nat_gateways] : []
  zones      = local.makes_vpc ? { a = 0, b = 1 } : {}
  vpc        = local.makes_vpc ? aws_vpc.this[0].id : var.existing_vpc
  subnets    = local.makes_vpc ? [for zone in ["a", "b"] : aws_subnet.private[zone].id] : var.existing_subnets
  blocks     = cidrsubnets(var.cidr, 2, 2, 2, 2)
  endpoints  = toset(["sts", "ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssm", "ssmmessages"])
}

resource "aws_vpc" "this" {
  count                = local.makes_vpc ? 1 : 0
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Without this, the group that AWS makes with each VPC lets its members reach one another.
resource "aws_default_security_group" "this" {
  count  = local.makes_vpc ? 1 : 0
  vpc_id = aws_vpc.this[0].id
}

# Tasks run only in the private subnets. The public ones contain the NAT gateways.
resource "aws_subnet" "private" {
  for_each          = local.zones
  vpc_id            = aws_vpc.this[0].id
  availability_zone = data.aws_availability_zones.available.names[each.value]
  cidr_block        = local.blocks[each.value]
  tags              = { Name = "${var.name}-private-${each.key}" }
  # A zone that AWS adds to the region must not move a subnet.
  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "public" {
  for_each                = toset(local.nat_zones)
  vpc_id                  = aws_vpc.this[0].id
  availability_zone       = data.aws_availability_zones.available.names[local.zones[each.key]]
  cidr_block              = local.blocks[local.zones[each.key] + 2]
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-public-${each.key}" }
  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_internet_gateway" "this" {
  count  = length(local.nat_zones) > 0 ? 1 : 0
  vpc_id = aws_vpc.this[0].id
}

resource "aws_route_table" "public" {
  count  = length(local.nat_zones) > 0 ? 1 : 0
  vpc_id = aws_vpc.this[0].id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this[0].id
  }
}

resource "aws_route_table_association" "public" {
  for_each       = aws_subnet.public
  route_table_id = aws_route_table.public[0].id
  subnet_id      = each.value.id
}

resource "aws_eip" "nat" {
  for_each = toset(local.nat_zones)
  domain   = "vpc"
}

resource "aws_nat_gateway" "this" {
  for_each      = toset(local.nat_zones)
  subnet_id     = aws_subnet.public[each.key].id
  allocation_id = aws_eip.nat[each.key].allocation_id
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route_table" "private" {
  for_each = local.zones
  vpc_id   = aws_vpc.this[0].id
}

resource "aws_route_table_association" "private" {
  for_each       = local.zones
  route_table_id = aws_route_table.private[each.key].id
  subnet_id      = aws_subnet.private[each.key].id
}

resource "aws_route" "private" {
  for_each               = length(local.nat_zones) > 0 ? local.zones : {}
  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[contains(local.nat_zones, each.key) ? each.key : "a"].id
}

# The flow log: which address sent to which address, for an investigation.
resource "aws_cloudwatch_log_group" "flow" {
  count             = local.makes_vpc ? 1 : 0
  name              = "/mesh/${var.name}/flow"
  retention_in_days = var.log_retention
  kms_key_id        = var.kms_key
}

resource "aws_iam_role" "flow" {
  count = local.makes_vpc ? 1 : 0
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "flow" {
  count = local.makes_vpc ? 1 : 0
  role  = aws_iam_role.flow[0].name
  name  = "write-flow-log"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
      Resource = ["${aws_cloudwatch_log_group.flow[0].arn}", "${aws_cloudwatch_log_group.flow[0].arn}:*"]
    }]
  })
}

resource "aws_flow_log" "this" {
  count           = local.makes_vpc ? 1 : 0
  vpc_id          = aws_vpc.this[0].id
  traffic_type    = "ALL"
  log_destination = aws_cloudwatch_log_group.flow[0].arn
  iam_role_arn    = aws_iam_role.flow[0].arn
}

resource "aws_security_group" "endpoints" {
  count       = local.makes_vpc && var.endpoints ? 1 : 0
  name        = "${var.name}-endpoints"
  description = "The VPC endpoints of the AWS APIs"
  vpc_id      = local.vpc
  ingress {
    description = "the VPC"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = [var.cidr]
  }
}

resource "aws_vpc_endpoint" "s3" {
  count             = local.makes_vpc && var.endpoints ? 1 : 0
  vpc_endpoint_type = "Gateway"
  vpc_id            = local.vpc
  service_name      = "com.amazonaws.${local.region}.s3"
  route_table_ids   = [for table in aws_route_table.private : table.id]
}

resource "aws_vpc_endpoint" "api" {
  for_each            = local.makes_vpc && var.endpoints ? local.endpoints : toset([])
  vpc_endpoint_type   = "Interface"
  vpc_id              = local.vpc
  service_name        = "com.amazonaws.${local.region}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = local.subnets
  security_group_ids  = [aws_security_group.endpoints[0].id]
}

resource "aws_cloudwatch_log_group" "exec" {
  name              = "/mesh/${var.name}/exec"
  retention_in_days = var.log_retention
  kms_key_id        = var.kms_key
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = var.container_insights
  }
  configuration {
    execute_command_configuration {
      # The log of ECS Exec: commands and their output. ECS Exec itself is a variable of each module, off by default.
      logging = "OVERRIDE"
      log_configuration {
        cloud_watch_log_group_name = aws_cloudwatch_log_group.exec.name
      }
    }
  }
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  name = var.dns_namespace
  vpc  = local.vpc
}

# A workload answers on its own port without mTLS, so the group allows only the proxies' ports.
resource "aws_security_group" "proxies" {
  name        = "${var.name}-proxies"
  description = "The tasks with a proxy of the mesh, zone proxies included"
  vpc_id      = local.vpc
  egress {
    description = "what workloads call"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "load_balancer" {
  name        = "${var.name}-load-balancer"
  description = "The load balancer in front of the control plane"
  vpc_id      = local.vpc
}

resource "aws_security_group" "control_plane" {
  name        = "${var.name}-control-plane"
  description = "The control plane, and the service beside it"
  vpc_id      = local.vpc
}

resource "aws_security_group" "database" {
  name        = "${var.name}-database"
  description = "The database of the control plane"
  vpc_id      = local.vpc
}

# Rules of their own, because the groups name one another. The group of the proxies keeps its rule for egress in itself, and the rules
# that the module zone adds to it are for ingress: Terraform mixes inline rules and rules of their own within one direction only badly.
resource "aws_vpc_security_group_ingress_rule" "this" {
  for_each = {
    proxies_to_proxies             = [aws_security_group.proxies.id, 8080, 8080, aws_security_group.proxies.id]
    proxies_to_zone_proxies        = [aws_security_group.proxies.id, 10001, 10002, aws_security_group.proxies.id]
    proxies_to_load_balancer       = [aws_security_group.load_balancer.id, 5678, 5678, aws_security_group.proxies.id]
    agents_to_load_balancer        = [aws_security_group.load_balancer.id, 5690, 5690, aws_security_group.proxies.id]
    load_balancer_to_control_plane = [aws_security_group.control_plane.id, 5678, 5691, aws_security_group.load_balancer.id]
    control_plane_to_database      = [aws_security_group.database.id, 5432, 5432, aws_security_group.control_plane.id]
  }
  security_group_id            = each.value[0]
  description                  = replace(each.key, "_", " ")
  ip_protocol                  = "tcp"
  from_port                    = each.value[1]
  to_port                      = each.value[2]
  referenced_security_group_id = each.value[3]
}

resource "aws_vpc_security_group_egress_rule" "targets" {
  security_group_id            = aws_security_group.load_balancer.id
  description                  = "targets"
  ip_protocol                  = "tcp"
  from_port                    = 5678
  to_port                      = 5691
  referenced_security_group_id = aws_security_group.control_plane.id
}

resource "aws_vpc_security_group_egress_rule" "aws" {
  security_group_id = aws_security_group.control_plane.id
  description       = "the AWS APIs"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "global" {
  security_group_id = aws_security_group.control_plane.id
  description       = "a global control plane"
  ip_protocol       = "tcp"
  from_port         = 5685
  to_port           = 5685
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id            = aws_security_group.control_plane.id
  description                  = "the database"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.database.id
}
