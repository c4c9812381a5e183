output "host" {
  description = "Host name of the database (database_host of the module control-plane); the server's certificate has this name"
  value       = aws_db_instance.this.address
}

output "password_secret" {
  description = "ARN of the secret with the password (database_password_secret of the module control-plane)"
  value       = aws_secretsmanager_secret_version.password.arn
}
