# PostgreSQL (RDS) for the control plane: the same as config/cloudformation/database.yaml.

# The password is written into the secret and into the database, and is in no state and no plan: both take it as a write-only argument.
# RDS could manage and rotate it. The control plane reads it at its start only, so after the first rotation it could open no connection.
ephemeral "aws_secretsmanager_random_password" "this" {
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "password" {
  name_prefix = "${var.name}-password-"
  description = "Password of the user kuma of the control plane's database"
  kms_key_id  = var.kms_key
}

resource "aws_secretsmanager_secret_version" "password" {
  secret_id                = aws_secretsmanager_secret.password.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.this.random_password
  secret_string_wo_version = 1
}

ephemeral "aws_secretsmanager_secret_version" "password" {
  secret_id = aws_secretsmanager_secret_version.password.secret_id
}

resource "aws_db_subnet_group" "this" {
  name        = var.name
  description = "The private subnets of the mesh"
  subnet_ids  = var.network.subnets
}

resource "aws_db_parameter_group" "this" {
  name_prefix = "${var.name}-"
  description = "TLS connections only"
  family      = var.parameter_group_family
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  parameter {
    name  = "log_statement"
    value = "ddl"
  }
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "this" {
  identifier                            = var.name
  engine                                = "postgres"
  engine_version                        = var.engine_version
  auto_minor_version_upgrade            = true
  instance_class                        = var.instance_class
  db_name                               = "kuma"
  username                              = "kuma"
  password_wo                           = ephemeral.aws_secretsmanager_secret_version.password.secret_string
  password_wo_version                   = 1
  db_subnet_group_name                  = aws_db_subnet_group.this.name
  parameter_group_name                  = aws_db_parameter_group.this.name
  vpc_security_group_ids                = [var.network.database_security_group]
  publicly_accessible                   = false
  ca_cert_identifier                    = var.authority
  storage_type                          = "gp3"
  storage_encrypted                     = true
  kms_key_id                            = var.kms_key
  allocated_storage                     = var.storage
  max_allocated_storage                 = var.max_storage
  multi_az                              = var.multi_az
  backup_retention_period               = var.backup_retention
  copy_tags_to_snapshot                 = true
  deletion_protection                   = var.deletion_protection
  skip_final_snapshot                   = false
  final_snapshot_identifier             = "${var.name}-final"
  enabled_cloudwatch_logs_exports       = ["postgresql", "upgrade"]
  performance_insights_enabled          = true
  performance_insights_retention_period = 7
  performance_insights_kms_key_id       = var.kms_key
}

resource "aws_cloudwatch_metric_alarm" "storage" {
  alarm_name          = "${var.name}-storage"
  alarm_description   = "The database has less than 2 GiB of free storage"
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  dimensions          = { DBInstanceIdentifier = aws_db_instance.this.identifier }
  statistic           = "Minimum"
  period              = 300
  evaluation_periods  = 2
  threshold           = 2147483648
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "missing"
  alarm_actions       = var.alarm_topic == null ? [] : [var.alarm_topic]
  ok_actions          = var.alarm_topic == null ? [] : [var.alarm_topic]
}

resource "aws_cloudwatch_metric_alarm" "cpu" {
  alarm_name          = "${var.name}-cpu"
  alarm_description   = "The database uses over 80 % of its processors for 15 minutes"
  namespace           = "AWS/RDS"
  metric_name         = "CPUUtilization"
  dimensions          = { DBInstanceIdentifier = aws_db_instance.this.identifier }
  statistic           = "Average"
  period              = 300
  evaluation_periods  = 3
  threshold           = 80
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "missing"
  alarm_actions       = var.alarm_topic == null ? [] : [var.alarm_topic]
  ok_actions          = var.alarm_topic == null ? [] : [var.alarm_topic]
}
