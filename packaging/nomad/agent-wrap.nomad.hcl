# Inbound agents as a Nomad job: the allocation of index 0 keeps the node linux-0 of the controller, and so on.
#
#   nomad var put nomad/jobs/linux user=keeper token=...
#   nomad job run agent-wrap.nomad.hcl
#
# Nomad's clients cut kill_timeout down to their max_kill_timeout, which is 30s unless their configuration says otherwise:
#
#   client {
#     max_kill_timeout = "1h2m"
#   }

job "linux" {
  type = "service"

  update {
    # One after the other, and the next once the agent has run for a minute.
    max_parallel     = 1
    health_check     = "task_states"
    min_healthy_time = "60s"
    # It has to hold a whole stop of the one before.
    healthy_deadline  = "70m"
    progress_deadline = "80m"
  }

  group "agents" {
    count = 2

    # With both, a new allocation waits for the end of the one that it replaces, on whichever machine: never two agents of
    # one name.
    ephemeral_disk {
      sticky  = true
      migrate = true
    }

    # agent-wrap restarts the agent itself; what ends agent-wrap is tried again for ever, each time after half a minute.
    restart {
      attempts = 1
      interval = "30s"
      delay    = "30s"
      mode     = "delay"
    }

    task "agent" {
      driver = "docker"

      # TERM begins a stop.
      kill_signal = "SIGTERM"
      # 10 s for the mark (AGENT_WRAP_OFFLINE_TIMEOUT), AGENT_WRAP_DRAIN, AGENT_WRAP_GRACE, and 5 s. A test adds them up.
      kill_timeout = "3645s"

      config {
        # Made from packaging/container/Containerfile.
        image = "registry.example.org/inbound-agent:latest"
      }

      env {
        JENKINS_URL           = "https://ci.example.org/"
        JENKINS_AGENT_NAME    = "linux-${NOMAD_ALLOC_INDEX}"
        JENKINS_AGENT_WORKDIR = "/home/jenkins/agent"
        # How long running builds may take at a stop: an hour.
        AGENT_WRAP_DRAIN = "1h"
        AGENT_WRAP_GRACE = "30s"
      }

      # As variables, which no build gets to see. The file is the allocation's, which docker shows to the task: its mode
      # keeps the agent's user out.
      template {
        destination = "secrets/account.env"
        env         = true
        perms       = "600"
        data        = <<-EOF
          {{ with nomadVar "nomad/jobs/linux" }}
          JENKINS_USER_ID={{ .user }}
          AGENT_WRAP_TOKEN={{ .token }}
          {{ end }}
        EOF
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }
  }
}
