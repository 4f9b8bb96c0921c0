// Speaks through process.send, as where it was forked by hand.
if (!process.send) throw new Error('not forked');
process.on('message', function (message) {
    if (message.op === 'init') process.send({ op: 'ready' });
    if (message.op === 'job') {
        process.send({ op: 'success', data: { job: message.data } }, function () {
            process.send({ op: 'ready' });
        });
    }
});
