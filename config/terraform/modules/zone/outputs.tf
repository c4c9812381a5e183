output "service_name" {
  description = "The name of the ECS service, for aws ecs execute-command and wait"
  value       = aws_ecs_service.zone_proxy.name
}

output "task_role_arn" {
  description = "A task with this role has the identity of this zone proxy"
  value       = aws_iam_role.task.arn
}
