<?php
// A fork master in PHP, written against docs/protocol.md alone: it loads the code once, and forks the workers.
declare(strict_types=1);

set_error_handler(fn ($level, $text) => throw new ErrorException($text, 0, $level)); // no mere warnings
define('LIMIT', (int) (getenv('FOLK_MAX_FRAME') ?: 16 * 1024 * 1024));

// -- what every worker shares: load frameworks, compile templates, fill caches here

$methods = [
    'echo' => fn (mixed $params) => $params,
    'fail' => fn (mixed $params) => throw new RuntimeException('this method always fails'),
    'pid' => fn (mixed $params) => getmypid(),
    'random' => fn (mixed $params) => mt_rand(),
    'sleep' => fn (mixed $params) => usleep((int) (1e6 * array_values((array) $params)[0])),
];

// -- frames over sockets

function read_exactly(Socket $socket, int $length): ?string {
    for ($data = ''; strlen($data) < $length; $data .= $piece) {
        $piece = socket_read($socket, $length - strlen($data)); // may be shorter than asked
        if ($piece === '') return $data === '' ? null : throw new RuntimeException('end inside a frame');
    }
    return $data;
}

function read_message(Socket $socket): ?array {
    if (($head = read_exactly($socket, 4)) === null) return null;
    return msgpack_unpack((string) read_exactly($socket, check(unpack('N', $head)[1])));
}

function write_message(Socket $socket, array $message): void {
    $payload = msgpack_pack($message);
    for ($frame = pack('N', check(strlen($payload))) . $payload; $frame !== ''; $frame = substr($frame, $written)) {
        $written = socket_write($socket, $frame);
    }
}

function check(int $length): int {
    return $length > 0 && $length <= LIMIT ? $length : throw new LengthException("a frame of $length bytes");
}

// -- a worker

function work(Socket $task, array $methods): void {
    while (($message = read_message($task)) !== null) {
        if ($message[0] !== 0) continue; // a Notify, which nobody answers
        [, $msgid, $method, $params] = $message;
        try {
            $answer = isset($methods[$method])
                ? [1, $msgid, null, $methods[$method]($params)]
                : [1, $msgid, ['code' => -32601, 'message' => "method not found: $method"], null];
        } catch (Throwable $e) {
            $data = ['type' => $e::class, 'traceback' => $e->getTraceAsString()];
            $answer = [1, $msgid, ['code' => -32603, 'message' => $e->getMessage(), 'data' => $data], null];
        }
        write_message($task, $answer);
    }
}

// -- the master

/** @return Socket[] the two that came with one byte, or none at the end of file */
function receive_sockets(Socket $channel): array {
    $message = ['name' => [], 'buffer_size' => 1, 'controllen' => socket_cmsg_space(SOL_SOCKET, SCM_RIGHTS, 2)];
    socket_recvmsg($channel, $message, 0);
    return $message['control'][0]['data'] ?? [];
}

function adopt(string $variable): Socket {
    $stream = fopen('php://fd/' . getenv($variable), 'r+b');
    return socket_import_stream($stream) ?: throw new RuntimeException("$variable holds no socket");
}

[$channel, $control] = [adopt('FOLK_TASK_FD'), adopt('FOLK_CONTROL_FD')];
pcntl_signal(SIGCHLD, SIG_IGN); // the kernel reaps them: a handler of PHP would wait for the next message
write_message($control, [2, 'control.fork-ready', ['pid' => getmypid()]]);
while (($message = read_message($control)) !== null) {
    if ($message[1] !== 'fork.spawn') continue;
    $sockets = receive_sockets($channel);
    if (count($sockets) !== 2) exit(1);
    if (($pid = pcntl_fork()) === 0) {
        posix_setpgid(0, 0); // so that it is signalled with all that it starts
        pcntl_signal(SIGCHLD, SIG_DFL);
        mt_srand(random_int(0, PHP_INT_MAX)); // else every worker draws the same numbers
        socket_close($channel);
        socket_close($control);
        write_message($sockets[1], [2, 'control.ready', ['pid' => getmypid()]]);
        work($sockets[0], $methods);
        exit(0);
    }
    posix_setpgid($pid, $pid); // whoever is first
    unset($sockets); // the worker's alone from now on: else nobody would see their end
    write_message($control, [2, 'fork.spawned', ['pid' => $pid]]);
}
