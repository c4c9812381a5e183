output "url" {
  description = "The page, from within the VPC"
  value       = "http://${aws_lb.this.dns_name}"
}
