output "host" {
  description = "The name of the control plane, for the modules dataplane, zone and demo; known once the control plane runs"
  value       = "control-plane.${var.network.dns_namespace}"
  depends_on  = [aws_ecs_service.control_plane, aws_service_discovery_instance.name]
}

output "load_balancer" {
  description = "The host name of the load balancer; control-plane.NAMESPACE is its alias"
  value       = aws_lb.this.dns_name
}

output "task_role_arn" {
  description = "The role that the reader roles of other accounts trust"
  value       = aws_iam_role.task.arn
}

output "service_name" {
  description = "The name of the ECS service, for aws ecs execute-command and wait"
  value       = aws_ecs_service.control_plane.name
}

output "audit_log_group" {
  description = "The log group with the audit lines"
  value       = aws_cloudwatch_log_group.audit.name
}
