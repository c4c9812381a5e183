# Written by `make templates` from config/cloudformation/dataplane.yaml, which has the comments. Change it there.

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
        Resource = [
          var.certificate_authority_secret,
          var.caller_token_secret,
        ]
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = local.log_group_arn
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

  container_definitions = [
    {
      name       = "files"
      image      = var.kuma_dp_image
      essential  = false
      user       = "0:0"
      entryPoint = ["/busybox/busybox", "sh", "-ec"]
      command = [
        join("\n", [
          "printf '%s\\n' \"$CA_CERTIFICATE\" > /kuma-token/ca.pem",
          "printf '%s\\n' \"$CALLER_TOKEN\" > /kuma-token/caller-token",
          "printf '%s\\n' \"$DATAPLANE\" > /kuma-token/dataplane.template",
          "/busybox/busybox sed -e \"s/{{ name }}/$(/busybox/busybox hostname -s)/\" -e \"s/{{ address }}/$(/busybox/busybox hostname -i)/\" \\",
          "  /kuma-token/dataplane.template > /kuma-token/dataplane.yaml",
          "/busybox/busybox chown 65532:65532 /kuma-token /kuma-token/ca.pem /kuma-token/caller-token /kuma-token/dataplane.yaml",
          "/busybox/busybox chmod 0400 /kuma-token/caller-token",
          "/busybox/busybox chmod 0700 /kuma-token",
          "",
        ]),
      ]
      environment = [
        {
          name = "DATAPLANE"
          value = join("\n", [
            "type: Dataplane",
            "mesh: \"${var.mesh}\"",
            "name: \"{{ name }}\"",
            "labels:",
            "  kuma.io/workload: \"${var.workload_label}\"",
            "networking:",
            "  address: \"{{ address }}\"",
            "  inbound:",
            "    - port: ${var.proxy_port}",
            "      servicePort: ${var.workload_port}",
            "      ${var.kuma_version != "3.0-or-later" ? "tags: { kuma.io/service: \"${var.service}\", kuma.io/protocol: ${var.workload_protocol} }" : "protocol: ${var.workload_protocol}"}",
            "      # The proxy tells the control plane when the workload does not accept connections, as while the task stops.",
            "      serviceProbe:",
            "        interval: 5s",
            "        timeout: 2s",
            "        unhealthyThreshold: 2",
            "        healthyThreshold: 1",
            "        tcp: {}",
            "  outbound: ${var.outbounds}",
            "",
          ])
        },
      ]
      secrets = [
        {
          name      = "CA_CERTIFICATE"
          valueFrom = var.certificate_authority_secret
        },
        {
          name      = "CALLER_TOKEN"
          valueFrom = var.caller_token_secret
        },
      ]
      mountPoints = [
        {
          sourceVolume  = "kuma-token"
          containerPath = "/kuma-token"
        },
      ]
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
    },
    {
      name      = "agent"
      image     = var.agent_image
      essential = false
      restartPolicy = {
        enabled              = true
        restartAttemptPeriod = 60
      }
      cpu                    = 32
      memory                 = 128
      memoryReservation      = 64
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
      command = [
        "agent",
        "--mode",
        "token",
        "--service-url",
        "https://${var.control_plane_host}:5690",
        "--ca-file",
        "/kuma-token/ca.pem",
        "--caller-token-file",
        "/kuma-token/caller-token",
        "--dataplane-file",
        "/kuma-token/dataplane.yaml",
      ]
      environment = [
        {
          name  = "KMESH_AWSIAM_AUDIENCE"
          value = var.audience
        },
        {
          name  = "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"
          value = "/kuma-token/token"
        },
        {
          name  = "AWS_REGION"
          value = local.region
        },
      ]
      healthCheck = {
        command     = ["CMD", "kuma-aws-iam", "agent", "--health"]
        interval    = 10
        timeout     = 5
        retries     = 3
        startPeriod = 30
      }
      stopTimeout = 30
      mountPoints = [
        {
          sourceVolume  = "kuma-token"
          containerPath = "/kuma-token"
        },
      ]
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
    },
    {
      name              = "kuma-dp"
      image             = var.kuma_dp_image
      essential         = true
      cpu               = 160
      memoryReservation = 192
      user              = "65532:65532"
      dependsOn = [
        {
          containerName = "agent"
          condition     = "HEALTHY"
        },
      ]
      entryPoint = ["kuma-dp"]
      command    = ["run", "--dataplane-file", "/kuma-token/dataplane.yaml"]
      environment = [
        {
          name  = "KUMA_CONTROL_PLANE_URL"
          value = "https://${var.control_plane_host}:5678"
        },
        {
          name  = "KUMA_CONTROL_PLANE_CA_CERT_FILE"
          value = "/kuma-token/ca.pem"
        },
        {
          name  = "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"
          value = "/kuma-token/token"
        },
      ]
      healthCheck = {
        command = [
          "CMD",
          "/busybox/busybox",
          "wget",
          "-q",
          "-O",
          "/dev/null",
          var.kuma_version != "2.13-or-earlier" ? "http://127.0.0.1:9902/ready" : "http://127.0.0.1:9901/ready",
        ]
        interval    = 10
        timeout     = 5
        retries     = 3
        startPeriod = 60
      }
      stopTimeout = 60
      portMappings = [
        {
          containerPort = var.proxy_port
        },
      ]
      mountPoints = [
        {
          sourceVolume  = "kuma-token"
          containerPath = "/kuma-token"
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
          max-buffer-size       = "4m"
        }
      }
    },
    {
      name      = "workload"
      image     = var.workload_image
      essential = true
      dependsOn = [
        {
          containerName = "kuma-dp"
          condition     = "HEALTHY"
        },
      ]
      environment = [
        {
          name  = var.workload_variable
          value = var.workload_value
        },
      ]
      portMappings = [
        {
          containerPort = var.workload_port
        },
      ]
      stopTimeout = 30
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
    },
  ]

  role_tags = { for key, value in {
    "kuma.io/type"     = "dataplane"
    "kuma.io/mesh"     = var.mesh
    "kuma.io/service"  = var.kuma_version != "3.0-or-later" ? var.service : null
    "kuma.io/workload" = var.workload_label
  } : key => value if value != null }
}
