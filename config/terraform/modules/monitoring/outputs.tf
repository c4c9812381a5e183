output "alarm_topic" {
  description = "ARN of the topic; subscribe whoever is on call"
  value       = aws_sns_topic.this.arn
}

output "workspace" {
  description = "Id of the workspace (metrics_workspace of the module control-plane)"
  value       = aws_prometheus_workspace.this.id
}

output "remote_write_url" {
  description = "Where collectors send metrics (metrics_url of the module control-plane)"
  value       = "${aws_prometheus_workspace.this.prometheus_endpoint}api/v1/remote_write"
}
