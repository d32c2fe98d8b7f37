<?php
// A site in PHP: one method, http.handle, over the loop of ../php_worker/worker.php. `trio-folk serve` starts it.
declare(strict_types=1);

set_error_handler(fn ($level, $text) => throw new ErrorException($text, 0, $level)); // no mere warnings
define('LIMIT', (int) (getenv('FOLK_MAX_FRAME') ?: 16 * 1024 * 1024));

function page(string $title, string $content): array {
    $html = "<!doctype html><title>$title</title><h1>$title</h1>$content";
    return ['status' => 200, 'headers' => ['Content-Type' => 'text/html; charset=utf-8'], 'body' => $html];
}

function handle(array $request): array {
    [$path, $query] = explode('?', $request['uri'], 2) + [1 => ''];
    parse_str($query, $given);
    $name = htmlspecialchars((string) ($given['name'] ?? 'world'));
    return match ($path) {
        '/' => page("Hello $name", '<p>from PHP ' . PHP_VERSION . ', process ' . getmypid() . '</p>'),
        '/length' => ['status' => 200, 'headers' => [], 'body' => (string) strlen($request['body'])],
        '/fail' => throw new RuntimeException('this page always fails'),
        '/exit' => exit(3),
        default => ['status' => 404, 'headers' => ['Content-Type' => 'text/plain'], 'body' => "no $path here\n"],
    };
}

$methods = ['http.handle' => handle(...), 'echo' => fn (mixed $params) => $params];

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
