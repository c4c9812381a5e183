output "policies" {
  description = "Ids of the policies, by name"
  value       = { for name, policy in aws_organizations_policy.guard : name => policy.id }
}
