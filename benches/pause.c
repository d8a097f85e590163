/* What `cargo bench --bench init` compares pause with: a program that makes the calls of the
   Kubernetes pause, as a C library makes them. INT and TERM end it, and it collects every child. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal) { _exit(signal == SIGKILL); }

static void collect(int signal)
{
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) { }
}

int main(void)
{
    const struct sigaction ends = { .sa_handler = leave };
    const struct sigaction child = { .sa_handler = collect, .sa_flags = SA_NOCLDSTOP };

    if (sigaction(SIGINT, &ends, NULL) || sigaction(SIGTERM, &ends, NULL)
        || sigaction(SIGCHLD, &child, NULL))
        return 1;
    for (;;)
        pause();
}
