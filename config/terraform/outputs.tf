output "page" {
  description = "The page of the demo, from within the VPC"
  value       = module.demo.url
}

output "control_plane" {
  description = "The name of the ECS service of the control plane"
  value       = module.control_plane.service_name
}

output "service_role_arn" {
  description = "The role that the reader roles of other accounts trust"
  value       = module.control_plane.task_role_arn
}
