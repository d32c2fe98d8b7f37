<?php
// A worker in PHP, written against docs/protocol.md alone. A pool starts it: see README.md.
declare(strict_types=1);

set_error_handler(fn ($level, $text) => throw new ErrorException($text, 0, $level)); // no mere warnings
define('LIMIT', (int) (getenv('FOLK_MAX_FRAME') ?: 16 * 1024 * 1024));

$methods = [
    'echo' => fn (mixed $params) => $params,
    'sum' => fn (array $params) => array_sum($params['numbers'] ?? $params),
    'word_count' => fn (array $params) => preg_match_all('/\S+/', file_get_contents($params['path'])),
    'fail' => fn (mixed $params) => throw new RuntimeException('this method always fails'),
    'sleep' => fn (mixed $params) => usleep((int) (1e6 * array_values((array) $params)[0])),
];

function channel(string $variable): mixed {
    $number = (int) getenv($variable);
    if ($number === 0) {
        fwrite(STDERR, "$variable holds no descriptor: workers are started by a pool\n");
        exit(1);
    }
    return fopen("php://fd/$number", 'r+b');
}

function check(int $length): int {
    return $length > 0 && $length <= LIMIT ? $length : throw new LengthException("a frame of $length bytes");
}

function read_exactly(mixed $stream, int $length): ?string {
    for ($data = ''; strlen($data) < $length; $data .= $piece) {
        $piece = fread($stream, $length - strlen($data)); // may be shorter than asked
        if ($piece === '') return $data === '' ? null : throw new RuntimeException('end inside a frame');
    }
    return $data;
}

function write_frame(mixed $stream, string $payload): void {
    for ($frame = pack('N', check(strlen($payload))) . $payload; $frame !== ''; $frame = substr($frame, $written)) {
        $written = fwrite($stream, $frame) ?: throw new RuntimeException('the pool is gone');
    }
}

[$task, $control] = [channel('FOLK_TASK_FD'), channel('FOLK_CONTROL_FD')];
write_frame($control, msgpack_pack([2, 'control.ready', ['pid' => getmypid()]]));
while (($head = read_exactly($task, 4)) !== null) {
    $message = msgpack_unpack((string) read_exactly($task, check(unpack('N', $head)[1])));
    if ($message[0] !== 0) continue; // a Notify, which nobody answers
    [, $msgid, $method, $params] = $message;
    $answer = fn ($error, $result = null) => write_frame($task, msgpack_pack([1, $msgid, $error, $result]));
    try {
        isset($methods[$method])
            ? $answer(null, $methods[$method]($params))
            : $answer(['code' => -32601, 'message' => "method not found: $method"]);
    } catch (Throwable $e) {
        $data = ['type' => $e::class, 'traceback' => $e->getTraceAsString()];
        $answer(['code' => -32603, 'message' => $e->getMessage(), 'data' => $data]);
    }
}
