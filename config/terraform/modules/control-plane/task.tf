# Written by `make templates` from config/cloudformation/control-plane.yaml, which has the comments. Change it there.

locals {
  task_trust = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "EcsTasksOfThisAccount"
        Effect = "Allow"
        Principal = {
          Service = "ecs-tasks.amazonaws.com"
        }
        Action = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = local.account_id
          }
          ArnLike = {
            "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account_id}:*"
          }
        }
      },
    ]
  }

  task_statements = [for each in [
    {
      Sid      = "ReadMeshRoleTags"
      Effect   = "Allow"
      Action   = "iam:GetRole"
      Resource = "arn:${local.partition}:iam::${local.account_id}:role${var.role_path}*"
    },
    length(var.reader_roles) > 0 ? {
      Sid      = "AssumeReaderRoles"
      Effect   = "Allow"
      Action   = "sts:AssumeRole"
      Resource = var.reader_roles
    } : null,
    var.metrics_url != null ? {
      Sid      = "WriteMetrics"
      Effect   = "Allow"
      Action   = "aps:RemoteWrite"
      Resource = "arn:${local.partition}:aps:${local.region}:${local.account_id}:workspace/${var.metrics_workspace}"
    } : null,
    var.ecs_exec ? {
      Sid    = "EcsExec"
      Effect = "Allow"
      Action = [
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ]
      Resource = "*"
    } : null,
    var.ecs_exec ? {
      Sid      = "EcsExecLog"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = var.network.exec_log_group_arn
    } : null,
    var.ecs_exec ? {
      Sid      = "EcsExecLogGroups"
      Effect   = "Allow"
      Action   = "logs:DescribeLogGroups"
      Resource = "*"
    } : null,
  ] : each if each != null]

  execution_trust = {
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "ecs-tasks.amazonaws.com"
        }
        Action = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = local.account_id
          }
          ArnLike = {
            "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account_id}:*"
          }
        }
      },
    ]
  }

  execution_policy = {
    Version = "2012-10-17"
    Statement = [for each in [
      {
        Effect = "Allow"
        Action = "secretsmanager:GetSecretValue"
        Resource = [for each in [
          var.database_password_secret,
          var.dataplane_key_secret,
          var.zone_key_secret != null ? var.zone_key_secret : null,
          var.certificate_secret,
          var.certificate_key_secret,
          var.caller_token_secret,
        ] : each if each != null]
      },
      {
        Effect = "Allow"
        Action = "ssm:GetParameters"
        Resource = [for each in [
          "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.configuration_parameter}",
          "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.database_authority_parameter}",
          var.global_address != null ? "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.global_authority_parameter}" : null,
        ] : each if each != null]
      },
      {
        Effect = "Allow"
        Action = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = [
          local.log_group_arn,
          local.audit_log_group_arn,
        ]
      },
      {
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = "arn:${local.partition}:ecr:${local.region}:${local.account_id}:repository/*"
      },
      var.kms_key != null ? {
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = var.kms_key
      } : null,
    ] : each if each != null]
  }

  container_definitions = [for each in [
    {
      name       = "files"
      image      = var.kuma_cp_image
      essential  = false
      user       = "0:0"
      entryPoint = ["/busybox/busybox", "sh", "-ec"]
      command = [
        join("\n", [
          "umask 077",
          "printf '%s\\n' \"$CONFIGURATION\" > /control-plane-files/kuma-cp.yaml",
          "printf '%s\\n' \"$DATABASE_AUTHORITY\" > /control-plane-files/database-ca.pem",
          "printf '%s\\n' \"$GLOBAL_AUTHORITY\" > /control-plane-files/global-ca.pem",
          "for folder in /control-plane-files /service-files; do",
          "  printf '%s\\n' \"$CERTIFICATE\" > $folder/cert.pem",
          "  printf '%s\\n' \"$CERTIFICATE_KEY\" > $folder/key.pem",
          "done",
          "cd /service-files",
          "printf '%s\\n' \"$CALLER_TOKEN\" > caller-token",
          "printf '%s\\n' \"$DATAPLANE_KEY\" > dataplane.pem",
          "printf '%s * dataplane.pem\\n' \"$DATAPLANE_KEY_ID\" > dataplane.keys",
          "printf '%s\\n' \"$ZONE_KEY\" > zone.pem",
          "printf '%s zone.pem\\n' \"$ZONE_KEY_ID\" > zone.keys",
          "/busybox/busybox chown -R 65532:65532 /control-plane-files /service-files",
          "",
        ]),
      ]
      environment = [for each in [
        {
          name  = "DATAPLANE_KEY_ID"
          value = var.dataplane_key_id
        },
        var.zone_key_secret != null ? {
          name  = "ZONE_KEY_ID"
          value = var.zone_key_id
        } : null,
      ] : each if each != null]
      secrets = [for each in [
        {
          name      = "CONFIGURATION"
          valueFrom = "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.configuration_parameter}"
        },
        {
          name      = "DATABASE_AUTHORITY"
          valueFrom = "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.database_authority_parameter}"
        },
        var.global_address != null ? {
          name      = "GLOBAL_AUTHORITY"
          valueFrom = "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.global_authority_parameter}"
        } : null,
        {
          name      = "CERTIFICATE"
          valueFrom = var.certificate_secret
        },
        {
          name      = "CERTIFICATE_KEY"
          valueFrom = var.certificate_key_secret
        },
        {
          name      = "CALLER_TOKEN"
          valueFrom = var.caller_token_secret
        },
        {
          name      = "DATAPLANE_KEY"
          valueFrom = var.dataplane_key_secret
        },
        var.zone_key_secret != null ? {
          name      = "ZONE_KEY"
          valueFrom = var.zone_key_secret
        } : null,
      ] : each if each != null]
      mountPoints = [
        {
          sourceVolume  = "control-plane-files"
          containerPath = "/control-plane-files"
        },
        {
          sourceVolume  = "service-files"
          containerPath = "/service-files"
        },
      ]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = local.log_group
          awslogs-region        = local.region
          awslogs-stream-prefix = "mesh"
          mode                  = "non-blocking"
          max-buffer-size       = "25m"
        }
      }
    },
    {
      name      = "kuma-aws-iam"
      image     = var.service_image
      essential = true
      restartPolicy = {
        enabled              = true
        restartAttemptPeriod = 60
      }
      cpu                    = 256
      memory                 = 384
      memoryReservation      = 192
      user                   = "65532:65532"
      readonlyRootFilesystem = true
      linuxParameters = {
        capabilities = {
          drop = ["ALL"]
        }
        initProcessEnabled = true
      }
      dependsOn = [
        {
          containerName = "files"
          condition     = "SUCCESS"
        },
      ]
      environment = [for each in [
        {
          name  = "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE"
          value = "aws-iam"
        },
        {
          name  = "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE"
          value = "aws-iam"
        },
        {
          name  = "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS"
          value = "true"
        },
        {
          name  = "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"
          value = join(",", var.authorized_accounts)
        },
        {
          name  = "KMESH_AWSIAM_AUDIENCE"
          value = var.audience
        },
        {
          name  = "KMESH_AWSIAM_REGIONS"
          value = local.region
        },
        {
          name  = "KMESH_AWSIAM_LISTEN"
          value = "0.0.0.0:5690"
        },
        {
          name  = "KMESH_AWSIAM_DIAGNOSTICS_LISTEN"
          value = "0.0.0.0:5691"
        },
        {
          name  = "KMESH_AWSIAM_TLS_CERT_FILE"
          value = "/service-files/cert.pem"
        },
        {
          name  = "KMESH_AWSIAM_TLS_KEY_FILE"
          value = "/service-files/key.pem"
        },
        {
          name  = "KMESH_AWSIAM_CALLER_TOKEN_FILE"
          value = "/service-files/caller-token"
        },
        var.kuma_version == "3.0-or-later" ? {
          name  = "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG"
          value = "true"
          } : {
          name  = "KMESH_AWSIAM_REQUIRE_SERVICE_TAG"
          value = "true"
        },
        var.kuma_version == "3.0-or-later" ? {
          name  = "KMESH_AWSIAM_KUMA_VERSION"
          value = "3.0"
        } : null,
        {
          name  = "KMESH_AWSIAM_DATAPLANE_KEYS_FILE"
          value = "/service-files/dataplane.keys"
        },
        var.zone_key_secret != null ? {
          name  = "KMESH_AWSIAM_ZONE_KEYS_FILE"
          value = "/service-files/zone.keys"
        } : null,
        {
          name  = "KMESH_AWSIAM_ZONE"
          value = var.zone
        },
        {
          name  = "KMESH_AWSIAM_ROLE_PATH_PREFIX"
          value = var.role_path
        },
        length(var.reader_roles) > 0 ? {
          name  = "KMESH_AWSIAM_READER_ROLE_NAME"
          value = var.reader_role_name
        } : null,
        length(var.reader_roles) > 0 ? {
          name  = "KMESH_AWSIAM_READER_EXTERNAL_ID"
          value = var.reader_external_id
        } : null,
      ] : each if each != null]
      healthCheck = {
        command     = ["CMD", "kuma-aws-iam", "health"]
        interval    = 15
        timeout     = 10
        retries     = 3
        startPeriod = 60
      }
      stopTimeout = 30
      portMappings = [
        {
          containerPort = 5690
        },
        {
          containerPort = 5691
        },
      ]
      mountPoints = [
        {
          sourceVolume  = "service-files"
          containerPath = "/service-files"
          readOnly      = true
        },
      ]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = local.audit_log_group
          awslogs-region        = local.region
          awslogs-stream-prefix = "mesh"
          mode                  = "blocking"
        }
      }
    },
    {
      name      = "migration"
      image     = var.kuma_cp_image
      essential = false
      user      = "65532:65532"
      dependsOn = [
        {
          containerName = "files"
          condition     = "SUCCESS"
        },
      ]
      command = ["migrate", "up"]
      environment = [
        {
          name  = "KUMA_STORE_TYPE"
          value = "postgres"
        },
        {
          name  = "KUMA_STORE_POSTGRES_HOST"
          value = var.database_host
        },
        {
          name  = "KUMA_STORE_POSTGRES_PORT"
          value = "5432"
        },
        {
          name  = "KUMA_STORE_POSTGRES_USER"
          value = "kuma"
        },
        {
          name  = "KUMA_STORE_POSTGRES_DB_NAME"
          value = "kuma"
        },
        {
          name  = "KUMA_STORE_POSTGRES_TLS_MODE"
          value = "verifyFull"
        },
        {
          name  = "KUMA_STORE_POSTGRES_TLS_CA_PATH"
          value = "/control-plane-files/database-ca.pem"
        },
        {
          name  = "KUMA_ENVIRONMENT"
          value = "universal"
        },
        {
          name  = "KUMA_MODE"
          value = "zone"
        },
      ]
      secrets = [
        {
          name      = "KUMA_STORE_POSTGRES_PASSWORD"
          valueFrom = var.database_password_secret
        },
      ]
      mountPoints = [
        {
          sourceVolume  = "control-plane-files"
          containerPath = "/control-plane-files"
          readOnly      = true
        },
      ]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = local.log_group
          awslogs-region        = local.region
          awslogs-stream-prefix = "mesh"
          mode                  = "non-blocking"
          max-buffer-size       = "25m"
        }
      }
    },
    {
      name              = "control-plane"
      image             = var.kuma_cp_image
      essential         = true
      cpu               = 700
      memoryReservation = 1024
      user              = "65532:65532"
      dependsOn = [
        {
          containerName = "files"
          condition     = "SUCCESS"
        },
        {
          containerName = "migration"
          condition     = "SUCCESS"
        },
      ]
      command = ["run", "--config-file", "/control-plane-files/kuma-cp.yaml"]
      environment = [for each in [
        {
          name  = "KUMA_STORE_TYPE"
          value = "postgres"
        },
        {
          name  = "KUMA_STORE_POSTGRES_HOST"
          value = var.database_host
        },
        {
          name  = "KUMA_STORE_POSTGRES_PORT"
          value = "5432"
        },
        {
          name  = "KUMA_STORE_POSTGRES_USER"
          value = "kuma"
        },
        {
          name  = "KUMA_STORE_POSTGRES_DB_NAME"
          value = "kuma"
        },
        {
          name  = "KUMA_STORE_POSTGRES_TLS_MODE"
          value = "verifyFull"
        },
        {
          name  = "KUMA_STORE_POSTGRES_TLS_CA_PATH"
          value = "/control-plane-files/database-ca.pem"
        },
        {
          name  = "KUMA_ENVIRONMENT"
          value = "universal"
        },
        {
          name  = "KUMA_MODE"
          value = "zone"
        },
        {
          name  = "KUMA_MULTIZONE_ZONE_NAME"
          value = var.zone
        },
        {
          name  = "KUMA_GENERAL_TLS_CERT_FILE"
          value = "/control-plane-files/cert.pem"
        },
        {
          name  = "KUMA_GENERAL_TLS_KEY_FILE"
          value = "/control-plane-files/key.pem"
        },
        {
          name  = "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE"
          value = "dpToken"
        },
        {
          name  = "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE"
          value = "zoneToken"
        },
        {
          name  = "KUMA_API_SERVER_HTTP_INTERFACE"
          value = "127.0.0.1"
        },
        {
          name  = "KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN"
          value = tostring(var.localhost_is_admin)
        },
        var.global_address != null ? {
          name  = "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS"
          value = var.global_address
        } : null,
        var.global_address != null ? {
          name  = "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE"
          value = "/control-plane-files/global-ca.pem"
        } : null,
        {
          name  = "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS"
          value = "true"
        },
      ] : each if each != null]
      secrets = [
        {
          name      = "KUMA_STORE_POSTGRES_PASSWORD"
          valueFrom = var.database_password_secret
        },
      ]
      healthCheck = {
        command     = ["CMD", "/busybox/busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5680/healthy"]
        interval    = 10
        timeout     = 5
        retries     = 3
        startPeriod = 60
      }
      stopTimeout = 60
      portMappings = [
        {
          containerPort = 5678
        },
        {
          containerPort = 5680
        },
        {
          containerPort = 5682
        },
      ]
      mountPoints = [
        {
          sourceVolume  = "control-plane-files"
          containerPath = "/control-plane-files"
          readOnly      = true
        },
      ]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = local.log_group
          awslogs-region        = local.region
          awslogs-stream-prefix = "mesh"
          mode                  = "non-blocking"
          max-buffer-size       = "25m"
        }
      }
    },
    var.metrics_url != null ? {
      name      = "collector"
      image     = var.collector_image
      essential = false
      restartPolicy = {
        enabled              = true
        restartAttemptPeriod = 60
      }
      cpu                    = 64
      memory                 = 256
      memoryReservation      = 64
      readonlyRootFilesystem = true
      linuxParameters = {
        capabilities = {
          drop = ["ALL"]
        }
      }
      dependsOn = [
        {
          containerName = "kuma-aws-iam"
          condition     = "START"
        },
      ]
      environment = [
        {
          name = "AOT_CONFIG_CONTENT"
          value = join("\n", [
            "extensions:",
            "  health_check: {}",
            "  sigv4auth:",
            "    region: ${local.region}",
            "    service: aps",
            "receivers:",
            "  prometheus:",
            "    config:",
            "      global:",
            "        # The service renders the page once a second at most, so an answer can take a second.",
            "        scrape_interval: 30s",
            "        scrape_timeout: 10s",
            "      scrape_configs:",
            "        - job_name: kuma-aws-iam",
            "          static_configs:",
            "            - targets: [\"127.0.0.1:5691\"]",
            "        - job_name: kuma-cp",
            "          static_configs:",
            "            - targets: [\"127.0.0.1:5680\"]",
            "processors:",
            "  resourcedetection:",
            "    detectors: [ecs]",
            "    timeout: 5s",
            "  # Every task scrapes the same address. The exporter makes the label instance of this attribute, so that two",
            "  # tasks do not write one series.",
            "  resource:",
            "    attributes:",
            "      - key: service.instance.id",
            "        from_attribute: aws.ecs.task.arn",
            "        action: upsert",
            "  batch: {}",
            "exporters:",
            "  prometheusremotewrite:",
            "    endpoint: ${var.metrics_url}",
            "    auth:",
            "      authenticator: sigv4auth",
            "    # The alerts use the names of the service's own metrics.",
            "    add_metric_suffixes: false",
            "service:",
            "  extensions: [health_check, sigv4auth]",
            "  pipelines:",
            "    metrics:",
            "      receivers: [prometheus]",
            "      processors: [resourcedetection, resource, batch]",
            "      exporters: [prometheusremotewrite]",
            "",
          ])
        },
      ]
      healthCheck = {
        command     = ["CMD", "/healthcheck"]
        interval    = 30
        timeout     = 5
        retries     = 3
        startPeriod = 30
      }
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = local.log_group
          awslogs-region        = local.region
          awslogs-stream-prefix = "mesh"
          mode                  = "non-blocking"
          max-buffer-size       = "4m"
        }
      }
    } : null,
  ] : each if each != null]
}
