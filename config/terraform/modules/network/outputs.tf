output "network" {
  description = "What the other modules take as their variable network"
  value = {
    vpc                          = local.vpc
    subnets                      = local.subnets
    cluster                      = aws_ecs_cluster.this.name
    namespace                    = aws_service_discovery_private_dns_namespace.this.id
    dns_namespace                = var.dns_namespace
    proxy_security_group         = aws_security_group.proxies.id
    load_balancer_security_group = aws_security_group.load_balancer.id
    control_plane_security_group = aws_security_group.control_plane.id
    database_security_group      = aws_security_group.database.id
    exec_log_group_arn           = aws_cloudwatch_log_group.exec.arn
  }
}
