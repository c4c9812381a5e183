output "service_name" {
  description = "The name of the ECS service, for aws ecs execute-command and wait"
  value       = aws_ecs_service.workload.name
}

output "task_role_arn" {
  description = "A task with this role has the identity of this service"
  value       = aws_iam_role.task.arn
}
