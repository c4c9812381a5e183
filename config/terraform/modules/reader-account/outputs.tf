output "reader_role_arn" {
  description = "ARN of the role, for reader_roles of the module control-plane"
  value       = aws_iam_role.reader.arn
}
