<?php
// A worker of the base protocol that is ready, and at its first request starts a child, tells both pids, and is busy.
declare(strict_types=1);

[$task, $control] = [fopen('php://fd/3', 'r+b'), fopen('php://fd/4', 'r+b')];
$ready = msgpack_pack([2, 'control.ready', ['pid' => getmypid()]]);
fwrite($control, pack('N', strlen($ready)) . $ready);
$length = unpack('N', fread($task, 4))[1];
$directory = msgpack_unpack(fread($task, $length))[3];
$child = proc_open(['sleep', '300'], [], $pipes);
$part = "$directory/." . getmypid();
file_put_contents($part, getmypid() . ' ' . proc_get_status($child)['pid']);
rename($part, "$directory/" . getmypid());
while (true);
