import { describeFailures } from './test-support/failure-tests.ts';

describeFailures('member');
