output "service_name" {
  description = "The name of the ECS service, for aws ecs execute-command and wait"
  value       = aws_ecs_service.workload.name
}

output "task_role_arn" {
  description = "Whoever may have this role is this service"
  value       = aws_iam_role.task.arn
}
